/** The page's script and style sheet, from the sources in `browser/`. */
export function bundlePage(): Promise<{ script: string; style: string }>;
