import Link from "next/link";
import { Heading } from "./heading";

export default function NotFound() {
  return (
    <>
      <Heading>There is no such page</Heading>
      <p>
        <Link href="/">Back to the start page</Link>
      </p>
    </>
  );
}
