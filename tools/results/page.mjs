// docs/results.md, made of docs/results/results.json: no number in it is written by hand.
import { plot } from '../bench/lib/plot.mjs';
import { codeRows, model, tasks } from './experiments.mjs';

const table = (header, rows) => [`| ${header.join(' | ')} |`, `|${header.map(() => '---').join('|')}|`, ...rows.map((row) => `| ${row.join(' | ')} |`)].join('\n');
const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : '');
const points = (value) => (Number.isFinite(value) ? `${value < 0 ? '−' : '+'}${Math.abs(100 * value).toFixed(1)}` : '');
const ratio = (after, before) => (Number.isFinite(after / before) ? `${after < before ? '−' : '+'}${Math.abs(100 * (after / before - 1)).toFixed(2)} %` : '');
const fixed = (value, digits = 3) => (Number.isFinite(value) ? value.toFixed(digits).replace('-', '−') : '');
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const minutes = (seconds) => `${(seconds / 60).toFixed(1)} min`;

const runsOf = ({ id }, { runs }) => Object.values(runs).filter(({ experiment }) => experiment === id).sort((a, b) => a.seed - b.seed);
const command = (config) => `npx espalier rpt --config examples/rpt/${config}.yaml --seed N --output-dir runs/${config}-N`;

/** The curve of every seed in one plot, and as a table. */
function curves(experiment, runs, name, title) {
  const series = runs.map(({ seed, curve }) => ({ name: `seed ${seed}`, points: curve.map((window) => [window.step, window[name]]) }));
  const image = `${experiment.id}.svg`;
  const rows = runs[0].curve.map((window, i) => [String(window.step), ...runs.map(({ curve }) => fixed(curve[i]?.[name])), fixed(mean(runs.map(({ curve }) => curve[i]?.['completions/mean_length'] ?? NaN)), 1), fixed(mean(runs.map(({ curve }) => curve[i]?.entropy ?? NaN)), 2)]);
  return {
    image: [image, plot({ title: `${experiment.title}: ${title}`, x: 'step', y: title, series })],
    text: [`![${title} over the steps](results/${image})`, '', '<details><summary>The same in numbers, means of five steps</summary>', '', table(['to step', ...runs.map(({ seed }) => `${title}, seed ${seed}`), 'tokens a completion', 'entropy'], rows), '', '</details>'],
  };
}

function foot(runs) {
  const { machine, commit, date } = runs[0];
  const threads = [...new Set(runs.map((run) => run.threads ?? String(run.machine.cores)))].join(' and ');
  return `<small>${date}, commit ${commit}, ${machine.processor}, ${threads} thread${threads === '1' ? '' : 's'} (${machine.features}), Node ${machine.node}; seconds are those of the whole command on a machine that did ${runs.some((run) => run.machine.load > 0.5) ? 'other work besides' : 'nothing else'}.</small>`;
}

/** What the commonest answer alone would earn, and whether more was learnt. */
function constantLine(constant, reached) {
  if (!constant) return [];
  const more = reached - constant.accuracy;
  const so = more > 0.05 ? `: ${points(more)} points beyond that were learnt` : '. **No more than that was learnt**: the form of an answer, and which one is the commonest';
  return [`The same answer to everything (${constant.answer}) would be right ${percent(constant.accuracy)} of the time${so}.`, ''];
}

/** Runs with rewards that can be verified: their own task, the others, perplexity. */
function verifiable(experiment, base, runs) {
  const { own } = experiment;
  const gains = runs.map(({ after }) => after.accuracy[own] - base.accuracy[own]);
  const head = ['seed', `${own} before`, 'after', 'gain, points', ...(own === 'code' ? ['compiles, before', 'after', 'hidden tests passed, before', 'after'] : []), 'perplexity, general text', 'perplexity, news', 'time'];
  const rows = runs.map(({ seed, after, seconds }, i) => [
    String(seed), percent(base.accuracy[own]), percent(after.accuracy[own]), points(gains[i]),
    ...(own === 'code' ? [percent(base.code.compiles), percent(after.code.compiles), percent(base.code.pass_rate), percent(after.code.pass_rate)] : []),
    ratio(after.perplexity.general, base.perplexity.general), ratio(after.perplexity.news, base.perplexity.news), minutes(seconds),
  ]);
  const average = [
    '**mean**', percent(base.accuracy[own]), percent(mean(runs.map(({ after }) => after.accuracy[own]))), `**${points(mean(gains))}**`,
    ...(own === 'code' ? [percent(base.code.compiles), percent(mean(runs.map(({ after }) => after.code.compiles))), percent(base.code.pass_rate), percent(mean(runs.map(({ after }) => after.code.pass_rate)))] : []),
    ratio(mean(runs.map(({ after }) => after.perplexity.general)), base.perplexity.general), ratio(mean(runs.map(({ after }) => after.perplexity.news)), base.perplexity.news), minutes(mean(runs.map(({ seconds }) => seconds))),
  ];
  const curve = curves(experiment, runs, 'reward', 'reward');
  const others = Object.keys(tasks).filter((name) => name !== own);
  return {
    lines: [
      '```sh', command(experiment.config), '```', '', table(head, [...rows, average]), '',
      ...constantLine(base.constants[own], mean(runs.map(({ after }) => after.accuracy[own]))),
      'Other tasks, which it was not trained on (accuracy, and the change in points):', '',
      table(['seed', ...others], [['before', ...others.map((name) => percent(base.accuracy[name]))], ...runs.map(({ seed, after }) => [String(seed), ...others.map((name) => `${percent(after.accuracy[name])} (${points(after.accuracy[name] - base.accuracy[name])})`)])]), '',
      ...curve.text, '', foot(runs), '',
    ],
    image: curve.image,
  };
}

/** Runs on a corpus, beside their controls. */
function corpus(experiment, base, runs) {
  const reward = experiment.id === 'next-token' ? 'rewards/prediction/mean' : 'rewards/information_gain/mean';
  const title = experiment.id === 'next-token' ? 'reward of a prediction' : 'information gain, nats';
  const others = Object.keys(tasks);
  const curve = curves(experiment, runs, 'reward', title);
  const both = (run, make) => [['run', make(run.after, run.control.held.run)], ['control', make(run.control.measured, run.control.held.control)]];
  return {
    lines: [
      '```sh', command(experiment.config), '```', '',
      `Held out is the reward on positions of held-out articles, before the first step and after the last: ${title}.`, '',
      table(
        ['seed', 'who', 'held out, before', 'after', 'perplexity, news', 'perplexity, general text', 'steps', 'units of compute'],
        runs.flatMap((run) => both(run, (measured, held) => [fixed(run.heldBefore?.[reward]), fixed(held[reward]), ratio(measured.perplexity.news, base.perplexity.news), ratio(measured.perplexity.general, base.perplexity.general)]).map(([who, cells]) => [String(run.seed), who, ...cells, String(run.control.steps[who]), units(run.control.compute[who])])),
      ), '',
      'Tasks (accuracy, and the change in points):', '',
      table(['seed', 'who', ...others], [['', 'before', ...others.map((name) => percent(base.accuracy[name]))], ...runs.flatMap((run) => both(run, (measured) => others.map((name) => `${percent(measured.accuracy[name])} (${points(measured.accuracy[name] - base.accuracy[name])})`)).map(([who, cells]) => [String(run.seed), who, ...cells]))]), '',
      `Time, control and its measure included: ${runs.map(({ seed, seconds }) => `seed ${seed} ${minutes(seconds)}`).join(', ')}.`, '',
      ...curve.text, '', foot(runs), '',
    ],
    image: curve.image,
  };
}

/** Tokens forward, and twice those backward, in thousands. */
const units = ({ generated, forward, backward }) => `${((generated + forward + 2 * backward) / 1000).toFixed(0)} k tokens`;

export function page(experiments, results) {
  const { base } = results;
  const plots = {};
  const sections = experiments.flatMap((experiment) => {
    const runs = runsOf(experiment, results);
    const title = `## ${experiment.title}`;
    if (!base || runs.length === 0) return [title, '', `Not run yet: \`node tools/results/run.mjs --only ${experiment.id}\`.`, ''];
    const { lines, image } = experiment.corpus ? corpus(experiment, base, runs) : verifiable(experiment, base, runs);
    plots[image[0]] = image[1];
    return [title, '', ...lines];
  });
  const markdown = [
    '# Results',
    '',
    `Made by \`node tools/results/run.mjs\`, which runs what is not there yet and writes this page; [results/results.json](results/results.json) has every number. All runs begin with ${model.split('/').at(-1)}.`,
    'Accuracy is greedy, on held-out problems that no seed trains on: 200 of each family, of the code task 200 functions with other names and numbers, right when all hidden tests pass.',
    ...(base ? [`Perplexity is measured on ${base.tokens.general.toLocaleString('en-US')} tokens of prose of many kinds that come with Espalier (\`general\`) and on ${base.tokens.news.toLocaleString('en-US')} tokens of news.`] : []),
    'A change in points has an error of its own: of 200 answers, half of them right, the standard error is 3.5 points.',
    '',
    ...sections,
    '## What is measured on',
    '',
    table(['', 'rows'], [...Object.entries(tasks), ['code', codeRows]].map(([name, ref]) => [name, `\`${ref}\``])),
    '',
  ].join('\n');
  return { markdown, plots };
}
