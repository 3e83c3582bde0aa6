import type { NextConfig } from "next";

const config: NextConfig = {
  poweredByHeader: false,
  // The root is this folder, also in a copy of it.
  turbopack: { root: import.meta.dirname },
};

export default config;
