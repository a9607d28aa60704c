// A line plot as SVG, for a page: axes that hold 0, both linear.

const [width, height, left, bottom, top, right] = [520, 300, 62, 46, 34, 20];
const escape = (text) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);
const short = (value) => String(Number(value.toPrecision(3)));

/** Steps of 1, 2 or 5 × 10ⁿ, about `count` of them from `least` to `most`, through 0. */
function ticks(least, most, count) {
  const raw = (most - least) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const first = Math.ceil(least / step - 1e-9);
  return Array.from({ length: Math.floor(most / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

const colours = ['#1f6f4a', '#b0562b', '#3b5fa0', '#8a4f9e'];
const dots = 20; // more points than this are a line without them

/** One line of `points` [x, y], or several `series` of { name, points }. Points without y are left out. */
export function plot({ title, x: xTitle, y: yTitle, points, series = [{ name: '', points }] }) {
  const lines = series.map(({ name, points: all }) => ({ name, points: all.filter(([, y]) => Number.isFinite(y)) }));
  const known = lines.flatMap((line) => line.points);
  const mostX = Math.max(1e-9, ...known.map(([x]) => x));
  const leastY = Math.min(0, ...known.map(([, y]) => y)) * 1.08;
  const mostY = Math.max(leastY + 1e-9, ...known.map(([, y]) => y)) * 1.08;
  const at = ([x, y]) => [left + ((width - left - right) * x) / mostX, height - bottom - ((height - bottom - top) * (y - leastY)) / (mostY - leastY)];
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}" font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${left}" y="20" font-size="13" font-weight="600">${escape(title)}</text>`,
  ];
  for (const y of ticks(leastY, mostY, 5)) {
    const [, py] = at([0, y]);
    parts.push(`<line x1="${left}" x2="${width - right}" y1="${py.toFixed(1)}" y2="${py.toFixed(1)}" stroke="${y === 0 && leastY < 0 ? '#888' : '#ddd'}"/><text x="${left - 6}" y="${(py + 4).toFixed(1)}" text-anchor="end" fill="#444">${short(y)}</text>`);
  }
  for (const x of lines.some(({ points: own }) => own.length > dots) ? ticks(0, mostX, 6) : new Set(known.map(([value]) => value))) {
    const px = at([x, leastY])[0];
    parts.push(`<line x1="${px.toFixed(1)}" x2="${px.toFixed(1)}" y1="${height - bottom}" y2="${height - bottom + 4}" stroke="#888"/>`);
    if (x >= mostX / 10 || x === known[0][0]) parts.push(`<text x="${px.toFixed(1)}" y="${height - bottom + 17}" text-anchor="middle" fill="#444">${short(x)}</text>`);
  }
  parts.push(`<line x1="${left}" x2="${width - right}" y1="${height - bottom}" y2="${height - bottom}" stroke="#888"/>`);
  parts.push(`<text x="${(left + width - right) / 2}" y="${height - 10}" text-anchor="middle" fill="#444">${escape(xTitle)}</text>`);
  parts.push(`<text transform="rotate(-90 14 ${height / 2})" x="14" y="${height / 2}" text-anchor="middle" fill="#444">${escape(yTitle)}</text>`);
  lines.forEach(({ name, points: own }, i) => {
    const colour = colours[i % colours.length];
    parts.push(`<polyline fill="none" stroke="${colour}" stroke-width="2" points="${own.map((point) => at(point).map((n) => n.toFixed(1)).join(',')).join(' ')}"/>`);
    for (const point of own.length > dots ? [] : own) {
      const [px, py] = at(point);
      parts.push(`<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="3.5" fill="${colour}"/>`);
    }
    if (name) parts.push(`<text x="${width - right - 8}" y="${height - bottom - 10 - 16 * (lines.length - 1 - i)}" text-anchor="end" fill="${colour}">${escape(name)}</text>`);
  });
  return `${parts.join('\n')}\n</svg>\n`;
}
