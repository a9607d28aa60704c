/** What Ctrl-C does: the first one asks the work to stop and save, the second ends the process at once. */
export interface Interrupt {
  signal: AbortSignal;
  dispose(): void;
}

export function onInterrupt(message: string): Interrupt {
  const controller = new AbortController();
  const handle = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(1);
    process.stderr.write(`\n${message}; ${name === 'SIGINT' ? 'Ctrl-C again' : 'once more'} ends at once\n`);
    controller.abort(new Error(name));
  };
  process.on('SIGINT', handle);
  process.on('SIGTERM', handle);
  return {
    signal: controller.signal,
    dispose() {
      process.off('SIGINT', handle);
      process.off('SIGTERM', handle);
    },
  };
}
