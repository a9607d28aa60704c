import { isEspalierError } from '@espalier/spec';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { RangedFile } from './files';
import { ggufTokenizer } from './gguf-tokenizer';
import { readGgufHeader } from './gguf/header';
import { byteTokenizer, characterTokenizer } from './small-tokenizers';
import { Tokenizer } from './tokenizer';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));

interface Case {
  text: string;
  ids: number[];
  idsWithSpecial: number[];
  decoded: string;
  decodedPlain: string;
}

function refusal(run: () => unknown): { code: string; message: string } {
  try {
    run();
  } catch (error) {
    if (!isEspalierError(error)) throw error;
    return error;
  }
  throw new Error('it was accepted');
}

describe('tokenizers rebuilt from GGUF metadata', () => {
  it.each(['smollm', 'llama-bpe', 'qwen2', 'tekken', 'gpt-4o', 'llama'])('%s: ids and text as transformers has them, and again after saving', (kind) => {
    const path = join(fixtures, 'gguf', `tokenizer-${kind}.gguf`);
    const expected = JSON.parse(readFileSync(join(fixtures, 'gguf', `tokenizer-${kind}.json`), 'utf8')) as { cases: Case[]; bos: number; eos: number };
    const file = new RangedFile(path);
    const rebuilt = ggufTokenizer(path, readGgufHeader(file))!;
    file.close();
    const folder = mkdtempSync(join(tmpdir(), 'espalier-tokenizer-'));
    rebuilt.save(folder);
    for (const tokenizer of [rebuilt, Tokenizer.fromFolder(folder)]) {
      for (const { text, ids, idsWithSpecial, decoded, decodedPlain } of expected.cases) {
        expect([...tokenizer.encode(text, { addSpecialTokens: false })], text).toEqual(ids);
        expect([...tokenizer.encode(text)], text).toEqual(idsWithSpecial);
        expect(tokenizer.decode(ids)).toBe(decoded);
        expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(decodedPlain);
      }
      expect([tokenizer.bosTokenId, tokenizer.eosTokenId]).toEqual([expected.bos, expected.eos]);
    }
    rmSync(folder, { recursive: true });
  });
});

describe('Tokenizer', () => {
  const folder = join(fixtures, 'llama');
  const json = (): { model: { vocab: Record<string, number>; merges: (string | string[])[] }; added_tokens: { id: number; content: string }[]; [key: string]: unknown } =>
    JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8')) as never;

  it('reads a folder: ids of the special tokens, the template, and files that are the same again', () => {
    const tokenizer = Tokenizer.fromFolder(folder);
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.padTokenId, tokenizer.vocabSize]).toEqual([1, 2, 2, 280]);
    expect(tokenizer.applyChatTemplate([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true })).toBe('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n');
    const again = mkdtempSync(join(tmpdir(), 'espalier-tokenizer-'));
    tokenizer.save(again);
    expect(readdirSync(again).sort()).toEqual(['chat_template.jinja', 'tokenizer.json', 'tokenizer_config.json']);
    const saved = Tokenizer.fromFolder(again);
    expect(saved.files()).toEqual(tokenizer.files());
    rmSync(again, { recursive: true });
  });

  it('decodes ids that have no token, and none at all, to nothing', () => {
    const tokenizer = Tokenizer.fromFolder(folder);
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.decode([279, 5000, -1])).toBe(tokenizer.decode([279]));
    expect(tokenizer.decode(new Int32Array([1, 2]), { skipSpecialTokens: true })).toBe('');
    expect(tokenizer.idToToken(5000)).toBeUndefined();
    expect(tokenizer.encode('')).toEqual(new Int32Array(0));
  });

  it('refuses tokenizers that would give wrong ids', () => {
    const cases: [(j: ReturnType<typeof json>) => void, RegExp][] = [
      [(j) => delete (j as { model?: unknown }).model, /no `model`/],
      [(j) => (j.model.vocab = {}), /needs the token/],
      [(j) => (j.model.vocab['new'] = 4), /share the id 4/],
      [(j) => (j.model.vocab['new'] = -1), /has the id -1/],
      [(j) => (j.model.vocab['new'] = 1e12), /has the id 1000000000000/],
      [(j) => j.model.merges.splice(3, 1), /merge/],
      [(j) => (j.model.merges = []), /no merge makes any/],
      [(j) => delete (j.model as { merges?: unknown }).merges, /merges/],
      [(j) => (j.model.merges[2] = ['t', 'zzz']), /"zzz", which is not in the vocabulary/],
      [(j) => (j.model.merges[2] = 'abc'), /merge 2 is not a pair/],
      [(j) => (j.model.merges[2] = ['a', 'b', 'c']), /merge 2 is not a pair/],
      [(j) => (j.added_tokens[0].id = 77), /added token/],
      [(j) => (j.added_tokens = [{ id: 0.5, content: 'x' }]), /added_tokens/],
      [(j) => (j.pre_tokenizer = 'ByteLevel'), /pre_tokenizer/],
      [(j) => (j.pre_tokenizer = { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated', invert: false }), /cannot be used/],
      [(j) => (j.decoder = { type: 'NoSuchDecoder' }), /cannot be used/],
    ];
    for (const [spoil, expected] of cases) {
      const spoilt = json();
      spoil(spoilt);
      const error = refusal(() => new Tokenizer({ json: spoilt, where: 'a/tokenizer.json' }));
      expect(error.message).toMatch(expected);
      expect(error.message).toContain('a/tokenizer.json');
      expect(error.code).toBe('bad_checkpoint');
    }
    const other = json();
    (other.model as { type?: string }).type = 'WordLevel';
    expect(refusal(() => new Tokenizer({ json: other })).code).toBe('unsupported');
  });

  it('notices each merge that is taken away', () => {
    const whole = json();
    for (let i = 0; i < whole.model.merges.length - 1; i++) {
      const spoilt = json();
      spoilt.model.merges.splice(i, 1);
      expect(refusal(() => new Tokenizer({ json: spoilt })).message).toMatch(/a merge is missing|needs the token/);
    }
  });

  it('names the file that is not JSON, and the folder that has no tokenizer', () => {
    const broken = mkdtempSync(join(tmpdir(), 'espalier-tokenizer-'));
    expect(refusal(() => Tokenizer.fromFolder(broken))).toMatchObject({ code: 'not_found' });
    writeFileSync(join(broken, 'tokenizer.json'), '{"model": ');
    expect(refusal(() => Tokenizer.fromFolder(broken))).toMatchObject({ code: 'bad_checkpoint', message: expect.stringContaining(join(broken, 'tokenizer.json')) as string });
    writeFileSync(join(broken, 'tokenizer.json'), Buffer.from([0x7b, 0xff, 0x7d]));
    expect(refusal(() => Tokenizer.fromFolder(broken)).message).toMatch(/not UTF-8/);
    rmSync(broken, { recursive: true });
  });

  it('adds BOS and EOS where tokenizer.json says so; the flags of older configs are ignored, as transformers 5 does', () => {
    const config = { bos_token: '<|im_start|>', eos_token: { content: '<|im_end|>' }, add_bos_token: true };
    const plain = [...new Tokenizer({ json: json(), config }).encode('ab')];
    const single = [{ SpecialToken: { id: '<|im_start|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
    const processor = { type: 'TemplateProcessing', single, pair: single, special_tokens: { '<|im_start|>': { id: '<|im_start|>', ids: [1], tokens: ['<|im_start|>'] } } };
    const tokenizer = new Tokenizer({ json: { ...json(), post_processor: processor }, config });
    expect([...tokenizer.encode('ab')]).toEqual([1, ...plain]);
    expect([...tokenizer.encode('ab', { addSpecialTokens: false })]).toEqual(plain);
  });

  it('keeps the spaces before punctuation, whatever an old config says of cleaning up', () => {
    const tokenizer = new Tokenizer({ json: json(), config: { clean_up_tokenization_spaces: true } });
    expect(tokenizer.decode(tokenizer.encode("x ?? y ! z , it 's"))).toBe("x ?? y ! z , it 's");
  });

  it('takes a template from the config, the default one of several', () => {
    const named = [{ name: 'tool_use', template: 'T' }, { name: 'default', template: 'D{{ bos_token }}' }];
    const tokenizer = new Tokenizer({ json: json(), config: { bos_token: '<|im_start|>', chat_template: named } });
    expect(tokenizer.applyChatTemplate([])).toBe('D<|im_start|>');
    expect(refusal(() => new Tokenizer({ json: json() }).applyChatTemplate([]))).toMatchObject({ code: 'unsupported' });
    expect(refusal(() => new Tokenizer({ json: json(), chatTemplate: '{% if %}' }))).toMatchObject({ code: 'bad_checkpoint' });
    const strict = new Tokenizer({ json: json(), chatTemplate: "{{ raise_exception('roles must alternate') }}" });
    expect(refusal(() => strict.applyChatTemplate([]))).toMatchObject({ code: 'bad_data', message: expect.stringContaining('roles must alternate') as string });
  });
});

describe('tokenizers made here', () => {
  it('byteTokenizer takes any text', () => {
    const tokenizer = byteTokenizer({ chatTemplate: '{{ messages[0].content }}' });
    expect(tokenizer.vocabSize).toBe(259);
    for (const text of ['Hello', 'naïve 你好 😀\n\t\0', '<|end|>']) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect([...tokenizer.encode('a<|end|>')].at(-1)).toBe(tokenizer.eosTokenId);
  });

  it('characterTokenizer has one token a character and refuses others', () => {
    const tokenizer = characterTokenizer('0123456789+=é😀 ');
    expect(tokenizer.vocabSize).toBe(18);
    expect(tokenizer.encode('1 + 2 = 3é😀')).toHaveLength(11);
    expect(tokenizer.decode(tokenizer.encode('1 + 2 = 3é😀<|end|>'), { skipSpecialTokens: true })).toBe('1 + 2 = 3é😀');
    expect(refusal(() => tokenizer.encode('12x'))).toMatchObject({ code: 'bad_data' });
    expect(refusal(() => characterTokenizer('')).code).toBe('bad_config');
    expect(refusal(() => characterTokenizer('ab', { specialTokens: ['a'] })).code).toBe('bad_config');
    expect(refusal(() => characterTokenizer('ab', { eosToken: '</s>' })).code).toBe('bad_config');
  });
});
