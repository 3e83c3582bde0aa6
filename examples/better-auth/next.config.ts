import type { NextConfig } from "next";

const config: NextConfig = {
  poweredByHeader: false,
  // This folder is the whole app, wherever it was copied to.
  turbopack: { root: import.meta.dirname },
};

export default config;
