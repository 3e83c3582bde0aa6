/** As far as this package uses it; a build of the package has no types of Node.js. */
declare module "node:async_hooks" {
  export class AsyncLocalStorage<T> {
    run<R>(store: T, call: () => R): R;
    getStore(): T | undefined;
  }
}
