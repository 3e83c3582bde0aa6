package com.example.keys;

import com.auth0.jwk.UrlJwkProvider;
import com.auth0.jwt.JWT;
import com.auth0.jwt.algorithms.Algorithm;
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.net.URI;
import java.net.URL;
import java.security.interfaces.ECPublicKey;
import java.security.interfaces.RSAPublicKey;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtDecoders;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;

/** Checks tokens with the Java libraries. Arguments: issuer, audience, algorithm, tokens. */
public class Keys {
  interface Library {
    void verify(String token) throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    String issuer = arguments[0], audience = arguments[1], algorithm = arguments[2];
    Map<String, Library> libraries = new TreeMap<>();
    libraries.put("Spring Security", token -> spring(
        NimbusJwtDecoder.withJwkSetUri(issuer + "/.well-known/jwks.json")
            .jwsAlgorithm(SignatureAlgorithm.from(algorithm)), issuer, audience).decode(token));
    libraries.put("Spring Security, issuer's metadata", token -> spring(
        NimbusJwtDecoder.withIssuerLocation(issuer), issuer, audience).decode(token));
    libraries.put("Spring Security, defaults", token -> {
      JwtDecoder decoder = JwtDecoders.fromIssuerLocation(issuer);
      decoder.decode(token);
    });
    libraries.put("Nimbus JOSE + JWT", token -> nimbus(issuer, audience, algorithm).process(token, null));
    libraries.put("java-jwt + jwks-rsa", token -> auth0(issuer, audience, algorithm, token));
    for (Map.Entry<String, Library> library : libraries.entrySet()) {
      for (int nth = 3; nth < arguments.length; nth++) {
        String result = "accepted";
        try {
          library.getValue().verify(arguments[nth]);
        } catch (Exception error) {
          result = String.valueOf(error.getMessage()).replaceAll("\\s+", " ");
        }
        System.out.println(library.getKey() + "\t" + (nth - 3) + "\t" + result);
      }
    }
  }

  static NimbusJwtDecoder spring(NimbusJwtDecoder.JwkSetUriJwtDecoderBuilder builder, String issuer, String audience) {
    NimbusJwtDecoder decoder = builder.validateType(false).build();
    decoder.setJwtValidator(JwtValidators.createAtJwtValidator().issuer(issuer).audience(audience)
        .validators(all -> all.put("client_id", new JwtClaimValidator<>("client_id", Objects::nonNull))).build());
    return decoder;
  }

  static DefaultJWTProcessor<SecurityContext> nimbus(String issuer, String audience, String algorithm) throws Exception {
    DefaultJWTProcessor<SecurityContext> processor = new DefaultJWTProcessor<>();
    processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt")));
    URL url = URI.create(issuer + "/.well-known/jwks.json").toURL();
    processor.setJWSKeySelector(new JWSVerificationKeySelector<>(
        JWSAlgorithm.parse(algorithm), JWKSourceBuilder.create(url).build()));
    processor.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(
        audience, new JWTClaimsSet.Builder().issuer(issuer).build(), Set.of("exp", "sub")));
    return processor;
  }

  static void auth0(String issuer, String audience, String name, String token) throws Exception {
    URL url = URI.create(issuer + "/.well-known/jwks.json").toURL();
    var key = new UrlJwkProvider(url).get(JWT.decode(token).getKeyId()).getPublicKey();
    Algorithm algorithm = switch (name) {
      case "RS256" -> Algorithm.RSA256((RSAPublicKey) key, null);
      case "ES256" -> Algorithm.ECDSA256((ECPublicKey) key, null);
      default -> throw new UnsupportedOperationException("java-jwt has no " + name);
    };
    JWT.require(algorithm).withIssuer(issuer).withAudience(audience).build().verify(token);
  }
}
