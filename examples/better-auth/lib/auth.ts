import { createClient } from "@cambio/next-auth";
import { cambio } from "@cambio/next-auth/better-auth";
import { betterAuth } from "better-auth";
import { type GenericOAuthConfig, genericOAuth } from "better-auth/plugins";

const { GITHUB_URL, OIDC_ISSUER } = process.env;
const [GITHUB, GITHUB_API] = GITHUB_URL ? [GITHUB_URL, `${GITHUB_URL}/api/v3`] : ["https://github.com", "https://api.github.com"];

const DAY = 24 * 60 * 60;

export const auth = betterAuth({
  plugins: [cambio(), genericOAuth({ config: [github(), ...openId()] })],
  // The API decides which accounts belong to one user.
  account: { accountLinking: { enabled: false } },
  session: { expiresIn: 30 * DAY },
  onAPIError: { errorURL: "/error" },
});

/** The client of Cambio. */
export const api = createClient();

/** GitHub, a GitHub Enterprise Server or the stand-in; the provider of better-auth supports github.com only. */
function github(): GenericOAuthConfig {
  return {
    providerId: "github",
    clientId: process.env.GITHUB_ID ?? "",
    clientSecret: process.env.GITHUB_SECRET,
    authorizationUrl: `${GITHUB}/login/oauth/authorize`,
    tokenUrl: `${GITHUB}/login/oauth/access_token`,
    scopes: ["read:user", "user:email"],
    async getUserInfo({ accessToken }) {
      const headers = { Authorization: `Bearer ${accessToken}`, "User-Agent": "cambio-example" };
      const [profile, emails] = await Promise.all(["/user", "/user/emails"].map(async (path) => (await fetch(`${GITHUB_API}${path}`, { headers })).json()));
      const primary = emails.find((email: { primary: boolean }) => email.primary);
      return { id: profile.id, name: profile.name ?? profile.login, email: primary?.email, emailVerified: primary?.verified === true };
    },
  };
}

/** Any OpenID provider; those of better-auth (Google, Microsoft, ...) work in the same way. */
function openId(): GenericOAuthConfig[] {
  if (!OIDC_ISSUER) return [];
  return [
    {
      providerId: "oidc",
      discoveryUrl: `${OIDC_ISSUER}/.well-known/openid-configuration`,
      clientId: process.env.OIDC_CLIENT_ID ?? "",
      clientSecret: process.env.OIDC_CLIENT_SECRET,
      scopes: ["openid", "profile", "email"],
      // A sign-out of this app does not sign the user out at the provider, as with GitHub.
      disableProviderLogout: true,
    },
  ];
}
