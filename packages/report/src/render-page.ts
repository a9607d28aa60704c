import { createHash } from 'node:crypto';
import type { PageAssets } from './page-assets';
import type { PageData } from './page-data';

/** JSON as it may stand in a script element: nothing in it can end the element or begin a comment. */
export function embeddedJson(value: unknown): string {
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => escapes[c]);

const digest = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/**
 * The page as one file: style, script and data inside it. Its policy lets nothing be loaded and nothing run but the script and the style whose digests it names;
 * the data is text, which the script puts into the document as text.
 */
export function renderPage(data: PageData, { script, style }: PageAssets): string {
  const policy = `default-src 'none'; script-src ${digest(script)}; style-src ${digest(style)}; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="@espalier/report">
<title>${escapeHtml(data.title)} · Espalier</title>
<style>${style}</style>
</head>
<body>
<noscript>This report draws itself with the script that it carries. The numbers are in metrics.jsonl beside it.</noscript>
<div id="app"></div>
<script type="application/json" id="data">${embeddedJson(data)}</script>
<script>${script}</script>
</body>
</html>
`;
}
