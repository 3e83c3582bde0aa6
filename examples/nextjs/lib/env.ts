/** The settings of this app; `.env.example` describes each. */
export function env() {
  return {
    NEXTAUTH_URL: required("NEXTAUTH_URL"),
    NEXTAUTH_SECRET: required("NEXTAUTH_SECRET"),
    GITHUB_ID: required("GITHUB_ID"),
    GITHUB_SECRET: required("GITHUB_SECRET"),
    GITHUB_URL: process.env.GITHUB_URL ? url("GITHUB_URL", "") : undefined,
    openId: openId(),
    CAMBIO_URL: url("CAMBIO_URL", ""),
    CAMBIO_CLIENT_ID: required("CAMBIO_CLIENT_ID"),
    CAMBIO_CLIENT_SECRET: required("CAMBIO_CLIENT_SECRET"),
  };
}

/** An OpenID provider beside GitHub, if configured. */
function openId() {
  if (!process.env.OIDC_ISSUER) return undefined;
  return { issuer: url("OIDC_ISSUER", ""), clientId: required("OIDC_CLIENT_ID"), clientSecret: required("OIDC_CLIENT_SECRET") };
}

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: .env.example says what it is for`);
  return value;
}

function url(name: string, fallback: string): string {
  const value = process.env[name] || fallback;
  if (!/^https?:/.test(value) || !URL.canParse(value)) throw new Error(`${name} is not an http(s) URL`);
  return value.replace(/\/+$/, "");
}
