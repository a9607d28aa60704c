/** Runs `work` on every item, so many at a time, and gives the results in their order. The first failure ends it. */
export async function inParallel<Item, Result>(items: readonly Item[], concurrency: number, work: (item: Item, index: number) => Promise<Result>): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  let next = 0;
  let failed = false;
  const one = async () => {
    while (next < items.length && !failed) {
      const i = next++;
      results[i] = await work(items[i], i).catch((error: unknown) => {
        failed = true;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, one));
  return results;
}
