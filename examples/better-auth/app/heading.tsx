/** The heading of a page is the title of its window too. */
export function Heading({ children }: { children: string }) {
  return (
    <>
      <title>{`${children} · Cambio with better-auth`}</title>
      <h1>{children}</h1>
    </>
  );
}
