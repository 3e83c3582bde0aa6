import { cambioClient } from "@cambio/next-auth/better-auth/client";
import { createAuthClient } from "better-auth/react";

export const authClient = createAuthClient({ plugins: [cambioClient()] });
