/** What every worker does: it says that it is ready, then answers one request after another, and ends when its owner is gone. */
export function serve(answer: (request: unknown) => unknown): void {
  const send = (message: unknown) => process.send?.(message);
  process.on('disconnect', () => process.exit(0));
  process.on('message', (request) => {
    void (async () => send(await answer(request)))().catch((error: unknown) => {
      // Nothing is known about the state that is left: the owner is told by the exit.
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`, () => process.exit(1));
    });
  });
  send({ ready: true });
}

/** The processor time that this process has used, in milliseconds: other work on the machine does not count. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
