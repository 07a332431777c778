import type { Chance } from './chance.ts'

/** How long to wait before try `n` (0 for the first): `baseMs · 2ⁿ ± 20 %`, capped. */
export function backoffMs(n: number, baseMs: number, maxMs: number, chance: Chance): number {
  const plain = Math.min(baseMs * 2 ** Math.min(n, 40), maxMs)
  return Math.min(maxMs, Math.round(plain * (0.8 + 0.4 * chance.next())))
}
