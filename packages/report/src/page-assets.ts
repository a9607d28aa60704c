import { readFile } from 'node:fs/promises';

export interface PageAssets {
  script: string;
  style: string;
}

let assets: Promise<PageAssets> | undefined;

/** What the page needs in the browser: made by the build, or from the sources when this module is one of them. */
export function pageAssets(): Promise<PageAssets> {
  return (assets ??= load().catch((error: unknown) => {
    assets = undefined;
    throw error;
  }));
}

async function load(): Promise<PageAssets> {
  if (import.meta.url.endsWith('.ts')) {
    const bundler = new URL('../bundle-page.mjs', import.meta.url).href;
    return ((await import(/* @vite-ignore */ bundler)) as { bundlePage(): Promise<PageAssets> }).bundlePage();
  }
  const [script, style] = await Promise.all(['page.js', 'page.css'].map((name) => readFile(new URL(name, import.meta.url), 'utf8')));
  return { script, style };
}
