/** Importing this registers the gradients of tfjs-core's own ops. */
export {};
