import { describe, expect, it } from 'vitest';
import { extractCode, programOf } from './index';

const fence = '```';

describe('extractCode', () => {
  it('takes the last block in the wanted language', () => {
    const text = `One:\n${fence}ts\nconst a = 1;\n${fence}\nTwo:\n${fence}typescript\nconst a = 2;\n${fence}\nAnd in Python:\n${fence}python\na = 3\n${fence}\n`;
    expect(extractCode(text)).toEqual({ code: 'const a = 2;', language: 'typescript', fenced: true });
    expect(extractCode(text, 'python')).toEqual({ code: 'a = 3', language: 'python', fenced: true });
  });
  it.each([
    ['JavaScript serves as TypeScript', `${fence}js\nlet a\n${fence}`, 'let a'],
    ['a block that says nothing', `${fence}\nlet a\n${fence}`, 'let a'],
    ['a block that was cut off', `Here:\n${fence}ts\nlet a`, 'let a'],
    ['tildes, and longer fences around shorter ones', `~~~~ts\nlet a = \`\n~~~\n\`\n~~~~`, 'let a = `\n~~~\n`'],
    ['an indented block', `1. so\n   ${fence}ts\n   if (a)\n     b();\n   ${fence}`, 'if (a)\n  b();'],
    ['what follows the thought', `<think>\n${fence}ts\nlet wrong\n${fence}\n</think>\nlet a`, '\nlet a'],
    ['a block before an empty one', `${fence}ts\nlet a\n${fence}\n${fence}ts\n${fence}`, 'let a'],
    ['more words behind the language', `${fence}ts title="a.ts"\nlet a\n${fence}`, 'let a'],
    ['lines of Windows', `${fence}ts\r\nlet a\r\nlet b\r\n${fence}`, 'let a\nlet b'],
    ['no fence at all', 'let a', 'let a'],
  ])('%s', (_, text, code) => expect(extractCode(text)?.code).toBe(code));
  it.each(['', ' \n', `${fence}python\na = 1\n${fence}`, `${fence}ts\n\n${fence}`, '<think>let a</think>', `${fence}constructor\nlet a\n${fence}`])('%j has no program', (text) => expect(extractCode(text)).toBe(null));
});

describe('programOf', () => {
  const options = { entry: 'add', signature: 'function add(a: number, b: number): number' };
  const whole = 'function add(a: number, b: number): number {\n  return a + b;\n}';
  it.each([
    ['goes on from the signature', '  return a + b;\n}', whole],
    ['ends with the function', '  return a + b;\n}\n\nfunction sub(a, b) {\n  return a - b;\n}', whole],
    ['lacks the brace that a stop sequence took', '\n  return a + b;', whole],
    ['is whole', whole, whole],
    ['is whole, in a block', `Sure!\n${fence}ts\n${whole}\n${fence}\nIt adds.`, whole],
    ['is an arrow function', 'const add = (a: number, b: number) => a + b;', 'const add = (a: number, b: number) => a + b;'],
    ['is exported', 'export const add = (a, b) => {\n  return a + b;\n}', 'export const add = (a, b) => {\n  return a + b;\n}'],
    ['has a local of the same name', '  const add = a + b;\n  return add;\n}', 'function add(a: number, b: number): number {\n  const add = a + b;\n  return add;\n}'],
    ['has an unindented local of the same name', 'const add = a + b;\nreturn add;\n}', 'function add(a: number, b: number): number {\nconst add = a + b;\nreturn add;\n}'],
    ['declares another function', `${fence}ts\nreturn a + b;\n${fence}`, 'function add(a: number, b: number): number {\nreturn a + b;\n}'],
  ])('%s', (_, completion, program) => expect(programOf(completion, options)).toBe(program));
  it.each([
    ['strings', "  const s = '}' + \"}\"; return s; }", "const s = '}' + \"}\"; return s;"],
    ['escapes', "  return '\\'}'; }", "return '\\'}';"],
    ['templates in templates', '  return `}${ `{${ { a: 1 }.a }}` }}`; } more', 'return `}${ `{${ { a: 1 }.a }}` }}`;'],
    ['comments', '  // }\n  /* } */ return 1; }', '// }\n  /* } */ return 1;'],
    ['regular expressions', '  return /[/}]\\/}/.test(a) ? a / b : 1; }', 'return /[/}]\\/}/.test(a) ? a / b : 1;'],
    ['divisions', '  return (a) / b; } /', 'return (a) / b;'],
    ['nested blocks', '  if (a) { return { b }; }\n  return {}; }', 'if (a) { return { b }; }\n  return {};'],
    ['a string that never ends', "  return '}\n}", "return '}"],
  ])('finds the end past %s', (_, completion, body) => expect(programOf(completion, { entry: 'f', signature: 'function f()' })!.replace(/^function f\(\) \{\n\s*|\s*\}$/g, '')).toBe(body));
  it('Python', () => {
    const python = { language: 'python', entry: 'add', signature: 'def add(a, b):' } as const;
    expect(programOf('    return a + b\n\ndef other():\n    pass', python)).toBe('def add(a, b):\n    return a + b');
    expect(programOf('return a + b\n', python)).toBe('def add(a, b):\n    return a + b');
    expect(programOf(`${fence}python\ndef add(a, b):\n    return a\n${fence}`, python)).toBe('def add(a, b):\n    return a');
  });
  it('without a signature the code is the program', () => {
    expect(programOf('return 1 }', { entry: 'add' })).toBe('return 1 }');
    expect(programOf('  ')).toBe(null);
  });
});
