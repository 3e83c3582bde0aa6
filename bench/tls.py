"""TLS between the functions and the embedded DynamoDB, with release binaries that are unchanged but for a trust root.

A release binary trusts the roots of AWS for DynamoDB, and nothing that a bench could sign with. So the bench runs a
copy of it in which the text of one root certificate is replaced by that of a root which the bench made, of the same
kind and padded to the same length. No other byte changes, and no code.

The exchange goes without TLS: a function whose DynamoDB is reached by TLS counts as deployed, and then refuses a
provider on this machine.
"""

import datetime
import ipaddress
import json
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from runtime import Failure

ROOT = Path(__file__).resolve().parents[1]
AMAZON_ROOTS = ROOT / "shared/src/dynamodb/amazon-roots.pem"
# The RSA-2048 root among them, as the certificates of DynamoDB's endpoints have RSA keys.
AMAZON_RSA = "# Amazon_Root_CA_1\n"

DAY = datetime.timedelta(days=1)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, issuer_key, *, ca, host=None):
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if host:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(*certificates):
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def private_pem(key):
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


class Authority:
    """A root that the bench made, and a certificate for `host` through an intermediate, all RSA-2048 as at DynamoDB."""

    def __init__(self, folder, host):
        self.folder, self.host = folder, host
        keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3)]
        names = [name("Bench root"), name("Bench intermediate"), name(host)]
        self.root = certificate(names[0], keys[0], names[0], keys[0], ca=True)
        intermediate = certificate(names[1], keys[1], names[0], keys[0], ca=True)
        leaf = certificate(names[2], keys[2], names[1], keys[1], ca=False, host=host)
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"
        self.chain.write_bytes(pem(leaf, intermediate))
        self.key.write_bytes(private_pem(keys[2]))
        # Node adds a file of roots to its own roots, and Python reads one in place of its own.
        self.own_root, self.all_roots = folder / "root.pem", folder / "roots.pem"
        self.own_root.write_bytes(pem(self.root))
        self.all_roots.write_bytes(Path(certifi.where()).read_bytes() + pem(self.root))

    def trusted_by(self, binary):
        """A copy of `binary` that trusts the root."""
        content = Path(binary).read_bytes()
        text = AMAZON_ROOTS.read_text()
        start = text.index(AMAZON_RSA) + len(AMAZON_RSA)
        original, own = text[start : text.index("#", start)].encode(), pem(self.root)
        if content.count(original) != 1 or len(own) > len(original):
            raise Failure(f"{binary} does not contain the root {AMAZON_RSA.strip()} once, so it cannot trust the bench")
        copy = self.folder / Path(binary).name
        copy.write_bytes(content.replace(original, own.ljust(len(original), b"\n")))
        copy.chmod(0o755)
        return copy

    def variables(self):
        """The environment in which Node and Python trust the root."""
        return {"NODE_EXTRA_CA_CERTS": str(self.own_root), "AWS_CA_BUNDLE": str(self.all_roots)}


def own_host():
    """The name of this machine, and its address. A deployed function refuses `localhost` and a plain address."""
    host = socket.gethostname()
    try:
        address = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)[0][4][0]
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind((address, 0))
    except OSError as error:
        raise Failure(f"the name of this machine, {host}, must lead to it: add it to /etc/hosts ({error})") from None
    if host == "localhost" or ipaddress.ip_address(address).is_unspecified:
        raise Failure("this machine has no name but localhost, which a deployed function refuses: give it a name")
    return host, address


class Fronts:
    """The servers in front of the embedded services. As a context, its value is the settings of the functions twice:
    as deployed, with TLS to DynamoDB, and as on this machine, without TLS and with the provider.
    """

    def __init__(self, authority, address, settings, dynamodb_ms, provider_ms):
        self.authority, self.settings = authority, settings
        dynamodb = port_of(settings["AWS_ENDPOINT_URL_DYNAMODB"])
        provider = port_of(settings["GITHUB_API_URL"])
        plain = {"host": "127.0.0.1", "port": dynamodb, "delay": dynamodb_ms / 1000}
        tls = {**plain, "host": address, "chain": str(authority.chain), "key": str(authority.key)}
        fronts = [tls, plain, {"host": "127.0.0.1", "port": provider, "delay": provider_ms / 1000}]
        front = Path(__file__).with_name("front.py")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, front], stdin=pipe, stdout=pipe, text=True)
        self.process.stdin.write(json.dumps(fronts) + "\n")
        self.process.stdin.flush()

    def __enter__(self):
        tls, plain, provider = json.loads(self.process.stdout.readline())
        # The issuer of the tokens is the same for both. The provider with an http issuer is left out.
        issuer = "https://auth.example.com"
        common = {**self.settings, "ISSUER_URL": issuer, "TOKEN_AUDIENCE": issuer, "OIDC_PROVIDERS": ""}
        deployed = {
            **common,
            "AWS_ENDPOINT_URL_DYNAMODB": f"https://{self.authority.host}:{tls}",
            "GITHUB_API_URL": "https://api.github.com",
        }
        local = {
            **common,
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{plain}",
            "GITHUB_API_URL": f"http://127.0.0.1:{provider}",
        }
        return deployed, local

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def port_of(url):
    return int(url.rstrip("/").rpartition(":")[2])


def dynamodb(settings):
    """A client of the embedded DynamoDB."""
    return boto3.client(
        "dynamodb",
        endpoint_url=settings["AWS_ENDPOINT_URL_DYNAMODB"],
        region_name=settings["AWS_REGION"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )


def deploy_keys(settings):
    """Renames the development keys of `cambio services` to keys of a deployment, which a deployed function needs."""
    client = dynamodb(settings)
    table = settings["KEYS_TABLE_NAME"]
    key_set = client.get_item(TableName=table, Key={"pk": {"S": "KEYSET"}})["Item"]
    for published in key_set["keys"]["L"]:
        old = published["M"]["kid"]["S"]
        new = old.removeprefix("dev-")
        private = client.get_item(TableName=table, Key={"pk": {"S": f"KEY#{old}"}})["Item"]
        client.put_item(TableName=table, Item={**private, "pk": {"S": f"KEY#{new}"}, "kid": {"S": new}})
        published["M"]["kid"] = {"S": new}
    client.put_item(TableName=table, Item=key_set)
