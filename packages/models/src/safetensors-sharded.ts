import { EspalierError } from '@espalier/spec';
import { dirname, join } from 'node:path';
import { isRecord, readJsonObject } from './files';
import { openSafetensors, quote, type SafetensorsFile } from './safetensors';
import type { StoredTensor, WeightSource } from './weight-source';

const maxIndexBytes = 64 * 1024 * 1024;

/** A checkpoint cut into several safetensors files. */
export interface ShardedSafetensors extends WeightSource {
  /** The shards' paths. */
  readonly paths: readonly string[];
  close(): void;
}

/**
 * Opens a `model.safetensors.index.json` and every shard that it names. Shards must lie beside the index: a name with a path in it is refused.
 *
 * @throws EspalierError `bad_checkpoint` when the index is malformed, a shard is missing or malformed, or index and shards disagree.
 */
export function openShardedSafetensors(indexPath: string): ShardedSafetensors {
  const bad = (what: string): EspalierError => new EspalierError('bad_checkpoint', `${indexPath} ${what}`);
  const { weight_map: map } = readJsonObject(indexPath, maxIndexBytes);
  if (!isRecord(map)) throw bad('has no `weight_map` object');
  if (Object.keys(map).length === 0) throw bad('lists no tensors');

  const folder = dirname(indexPath);
  const shards = new Map<string, SafetensorsFile>();
  const close = (): void => shards.forEach((shard) => shard.close());
  const tensors = new Map<string, StoredTensor>();
  const holder = new Map<string, SafetensorsFile>();
  try {
    for (const [name, shardName] of Object.entries(map)) {
      if (!isShardName(shardName)) throw bad(`puts tensor ${quote(name)} in ${JSON.stringify(shardName)?.slice(0, 120)}, which is not the name of a safetensors file beside it`);
      let shard = shards.get(shardName);
      if (!shard) shards.set(shardName, (shard = openShard(join(folder, shardName), bad)));
      const tensor = shard.tensors.get(name);
      if (!tensor) throw bad(`puts tensor ${quote(name)} in ${shardName}, which does not hold it`);
      tensors.set(name, tensor);
      holder.set(name, shard);
    }
    for (const shard of shards.values()) {
      for (const name of shard.tensors.keys()) if (holder.get(name) !== shard) throw bad(`does not list tensor ${quote(name)} of ${shard.path}`);
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    tensors,
    paths: [...shards.values()].map((shard) => shard.path),
    read(name, into) {
      const shard = holder.get(name);
      if (!shard) throw new EspalierError('not_found', `${indexPath} has no tensor ${name}`);
      return shard.read(name, into);
    },
    close,
  };
}

function isShardName(value: unknown): value is string {
  return typeof value === 'string' && /^[^/\\\0:]{1,200}\.safetensors$/.test(value) && !value.startsWith('.');
}

function openShard(path: string, bad: (what: string) => EspalierError): SafetensorsFile {
  try {
    return openSafetensors(path);
  } catch (error) {
    if (error instanceof EspalierError && error.code === 'not_found') throw bad(`names the shard ${path}, which is not there`);
    throw error;
  }
}
