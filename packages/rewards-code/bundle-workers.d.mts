export function bundleWorker(name: 'quickjs' | 'typescript' | 'python'): Promise<string>;
export function quickjsWasm(): Promise<Uint8Array>;
