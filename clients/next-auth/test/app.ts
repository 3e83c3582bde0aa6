import { createClient } from "@cambio/next-auth";
import { cambio } from "@cambio/next-auth/v4";

export const { options: cambioOptions } = cambio({ url: "https://auth.example.com", clientId: "nextjs", clientSecret: "secret" });

export async function name(): Promise<string | null> {
  const user = await createClient({ url: "https://auth.example.com", clientId: "a", clientSecret: "b" }).me("token");
  // @ts-expect-error there is no such member
  user.nickname;
  return user.name;
}
