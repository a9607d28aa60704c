// docs/benchmarks.md, made of the results: nothing in it is written by hand.

const cell = (text) => String(text).replace(/\|/g, '\\|');
const table = ({ header, rows }) => [`| ${header.map(cell).join(' | ')} |`, `|${header.map(() => '---').join('|')}|`, ...rows.map((row) => `| ${row.map(cell).join(' | ')} |`)].join('\n');
const number = (value, digits) => (value === null ? '' : Number(value).toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits }));

export const barText = ({ bar, most, unit }) => `${most ? '≤' : '≥'} ${Number(bar).toLocaleString('en-US')}${unit}`;
export const valueText = ({ value, unit, digits }) => (value === null ? 'not measured' : `${number(value, digits)}${unit}`);
export const verdict = ({ holds }) => (holds === null ? 'unknown' : holds ? 'holds' : 'misses');

const overview = (rows, results) =>
  table({
    header: ['what', 'bar', 'measured', 'so it'],
    rows: rows.flatMap(({ id, title }) => (results[id]?.checks ?? []).map((each) => [`${title.split(/[:,(]/)[0].trim()}: ${each.what}${each.note ? ` (${each.note})` : ''}`, barText(each), valueText(each), verdict(each)])),
  });

function section(row, result) {
  const lines = [`## ${row.title}`, ''];
  if (!result) return [...lines, `Not measured yet: \`node tools/bench/run.mjs --only ${row.id}\`.`, ''];
  if (result.error) return [...lines, `Failed: ${result.error}`, ''];
  const { machine } = result;
  lines.push(table(result.table), '');
  for (const { file, title } of result.plots ?? []) lines.push(`![${title}](benchmarks/${file})`, '');
  if (result.note) lines.push(result.note, '');
  const versions = Object.entries(result.versions ?? {}).map(([name, version]) => `${name} ${version}`).join(', ');
  lines.push(`<small>${result.date}, commit ${result.commit}, ${machine.processor}, ${machine.cores} cores (${machine.features || 'no vector features known'}), Node ${machine.node}${versions ? `, ${versions}` : ''}; ${result.rounds} rounds; load ${machine.load.toFixed(1)} when it began${machine.load > 0.5 * machine.cores ? ': **the machine was not idle**' : ''}.</small>`, '');
  return lines;
}

export function page(rows, results) {
  const measured = rows.some(({ id }) => results[id]?.checks);
  return [
    '# Benchmarks',
    '',
    'Made by `node tools/bench/run.mjs`, which writes this page; [benchmarks/results.json](benchmarks/results.json) has every number. SmolLM2-135M-Instruct throughout. Who is compared takes turns in one run:',
    "each loads, warms up and waits, then every round asks each of them once, so that what happens to the machine happens to all. Times are medians with the least and the greatest; a ratio is against the peer's fastest configuration.",
    '`Espalier` with no more words is what a user gets: `native`, bf16 products where the processor has them. [tools/bench](../tools/bench) says how to run it, and what each part does.',
    '',
    ...(measured ? ['## What must hold', '', overview(rows, results), ''] : ['Nothing has been measured with this version yet.', '']),
    ...rows.flatMap((row) => section(row, results[row.id])),
  ].join('\n');
}
