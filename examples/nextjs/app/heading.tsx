/** The heading of a page, which is also the title of its window. */
export function Heading({ children }: { children: string }) {
  return (
    <>
      <title>{`${children} · Cambio example`}</title>
      <h1>{children}</h1>
    </>
  );
}
