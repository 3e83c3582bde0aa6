/** The platforms that have a package with the local server, as `process.platform` and `process.arch` name them. */
export const PLATFORMS: readonly string[] = ["linux-x64", "linux-arm64", "darwin-arm64", "darwin-x64"];

/** Returns the name of the package with the local server for a platform. */
export function packageOf(platform: string): string {
  return `@cambio/cli-${platform}`;
}
