// Draws the diagrams of the pages, in the colors of the theme that is chosen.
const isDark = ["ayu", "coal", "navy"].some((theme) => document.documentElement.classList.contains(theme));
mermaid.initialize({ startOnLoad: true, theme: isDark ? "dark" : "default" });
