/** The heading of a page, which is also the title of its window. */
export function Heading({ children }: { children: string }) {
  return (
    <>
      <title>{`${children} · Cambio with better-auth`}</title>
      <h1>{children}</h1>
    </>
  );
}
