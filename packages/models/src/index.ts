export * from './config';
export * from './config-json';
export * from './decoder';
export * from './decoder-weights';
export * from './init';
export * from './lora';
export * from './rotary-frequencies';
