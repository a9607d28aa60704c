import { h } from './dom';
import type { ViewStore } from './view';

type Theme = 'light' | 'dark';
const key = 'espalier-report-theme';
/** Asked for at every drawing: kept until the theme changes. */
const colours = new Map<string, string>();
const system = matchMedia('(prefers-color-scheme: dark)');

/** What was chosen before. A browser may refuse a file its storage. */
function remembered(): Theme | null {
  try {
    const value = localStorage.getItem(key);
    return value === 'light' || value === 'dark' ? value : null;
  } catch {
    return null;
  }
}

function remember(theme: Theme): void {
  try {
    localStorage.setItem(key, theme);
  } catch {
    // for this time only
  }
}

/** The button that changes between light and dark; until it is used the system decides. A page is printed in light. */
export function themeButton(view: ViewStore): HTMLElement {
  let chosen = remembered();
  const root = document.documentElement;
  const button = h('button', { type: 'button', class: 'button', id: 'theme', onclick: toggle });
  const current = (): Theme => chosen ?? (system.matches ? 'dark' : 'light');

  function apply(theme = current()): void {
    root.dataset['theme'] = theme;
    colours.clear();
    const other = theme === 'dark' ? 'light' : 'dark';
    button.textContent = other === 'dark' ? '☾ Dark' : '☀ Light';
    button.setAttribute('aria-label', `Use the ${other} theme`);
    view.repaint();
  }

  function toggle(): void {
    chosen = current() === 'dark' ? 'light' : 'dark';
    remember(chosen);
    apply();
  }

  system.addEventListener('change', () => apply());
  addEventListener('beforeprint', () => {
    apply('light');
    view.flush();
  });
  addEventListener('afterprint', () => apply());
  apply();
  return button;
}

/** The value of a colour of the style sheet. */
export function colour(name: string): string {
  let value = colours.get(name);
  if (value === undefined) colours.set(name, (value = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()));
  return value;
}

/** Colours of lines, apart for everybody (Okabe and Ito); they differ between light and dark. */
export const lineColour = (index: number): string => colour(`line-${index % 7}`);
