/** Returns a short name of a browser and its system, such as "Chrome on macOS". Any other text stays as it is. */
export function deviceName(userAgent: string | null): string {
  if (!userAgent) return "An unknown device";
  const find = (names: [RegExp, string][]) => names.find(([pattern]) => pattern.test(userAgent))?.[1];
  // The order matters: Edge and Opera call themselves Chrome too, and Chrome calls itself Safari.
  const browser = find([
    [/\bEdg(A|iOS)?\//, "Edge"],
    [/\bOPR\//, "Opera"],
    [/\bSamsungBrowser\//, "Samsung Internet"],
    [/\b(Firefox|FxiOS)\//, "Firefox"],
    [/\b(HeadlessChrome|Chrome|CriOS)\//, "Chrome"],
    [/\bVersion\/.*\bSafari\//, "Safari"],
  ]);
  const system = find([
    [/\bAndroid\b/, "Android"],
    [/\biPhone\b/, "iPhone"],
    [/\biPad\b/, "iPad"],
    [/\bWindows\b/, "Windows"],
    [/\bCrOS\b/, "ChromeOS"],
    [/\bMac OS X\b|\bMacintosh\b/, "macOS"],
    [/\bLinux\b/, "Linux"],
  ]);
  return browser && system ? `${browser} on ${system}` : (browser ?? userAgent);
}
