import type { QuickJSContext, QuickJSHandle } from 'quickjs-emscripten-core';
import type { WireValue } from '../src/protocol';

export class TooLarge extends Error {}

interface Helpers {
  isArray: QuickJSHandle;
  kindOf: QuickJSHandle;
  toText: QuickJSHandle;
}

const deepest = 64;

/**
 * A value of the program as plain data, read from outside of its context: no `toJSON`, no `valueOf`, no iterator of the program decides what it is.
 * Getters and proxies are asked once for each part, as any reader would.
 * @throws TooLarge above `budget` characters, or when it is nested over 64 levels (what refers to itself is)
 */
export function encodeHandle(vm: QuickJSContext, root: QuickJSHandle, helpers: Helpers, budget: number): WireValue {
  let left = budget;
  const spend = (characters: number) => {
    left -= characters;
    if (left < 0) throw new TooLarge('the result is too large');
  };
  const readString = (handle: QuickJSHandle): string => {
    spend(vm.getProp(handle, 'length').consume((length) => vm.getNumber(length)));
    return vm.getString(handle);
  };
  const encode = (handle: QuickJSHandle, depth: number): WireValue => {
    spend(2);
    if (depth > deepest) throw new TooLarge('the result is nested too deeply');
    switch (vm.typeof(handle)) {
      case 'number': {
        const value = vm.getNumber(handle);
        return Number.isFinite(value) && !Object.is(value, -0) ? value : ['number', Object.is(value, -0) ? '-0' : String(value)];
      }
      case 'string':
        return readString(handle);
      case 'boolean':
        return vm.sameValue(handle, vm.true);
      case 'bigint': {
        const text = vm.callFunction(helpers.toText, vm.undefined, handle);
        return text.error ? ['other'] : ['bigint', readString(text.value)];
      }
      case 'undefined':
        return ['undefined'];
      case 'function':
        return ['function'];
      case 'symbol':
        return ['symbol'];
      case 'object':
        return encodeObject(handle, depth);
      default:
        return ['other']; // reading it threw
    }
  };
  const encodeObject = (handle: QuickJSHandle, depth: number): WireValue => {
    if (vm.sameValue(handle, vm.null)) return null;
    if (isTrue(vm.callFunction(helpers.isArray, vm.undefined, handle))) return ['array', ...listOf(handle, depth)];
    const kind = vm.callFunction(helpers.kindOf, vm.undefined, handle);
    if (kind.error) {
      kind.error.dispose();
      return ['other'];
    }
    if (vm.typeof(kind.value) === 'object') {
      const name = vm.getString(vm.getProp(kind.value, 0)) as 'map' | 'set' | 'date';
      const parts = vm.getProp(kind.value, 1);
      return name === 'date' ? ['date', encode(parts, depth + 1)] : [name, ...listOf(parts, depth)];
    }
    const names = vm.getOwnPropertyNames(handle, { strings: true, numbersAsStrings: true, onlyEnumerable: true });
    if (names.error) {
      names.error.dispose();
      return ['other'];
    }
    return ['object', ...names.value.map((name) => [readString(name), encode(vm.getProp(handle, name), depth + 1)])];
  };
  const listOf = (handle: QuickJSHandle, depth: number): WireValue[] => {
    const length = vm.getProp(handle, 'length').consume((one) => (vm.typeof(one) === 'number' ? vm.getNumber(one) : 0));
    spend(length);
    return Array.from({ length }, (_, i) => encode(vm.getProp(handle, i), depth + 1));
  };
  const isTrue = (outcome: ReturnType<QuickJSContext['callFunction']>): boolean => {
    if (outcome.error) {
      outcome.error.dispose();
      return false;
    }
    return vm.sameValue(outcome.value, vm.true);
  };
  return encode(root, 0);
}
