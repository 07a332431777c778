/** The 97.5 % point of the standard normal: two-sided 95 %. */
const Z_95 = 1.959963984540054

export interface Interval {
  readonly low: number
  readonly high: number
}

/** Wilson's 95 % interval of a share: holds for small counts and near 0 and 1, where the textbook one does not. */
export function wilson(hits: number, rows: number): Interval {
  if (rows === 0) return { low: 0, high: 1 }
  const share = hits / rows
  const square = Z_95 * Z_95
  const middle = (share + square / (2 * rows)) / (1 + square / rows)
  const half = (Z_95 / (1 + square / rows)) * Math.sqrt((share * (1 - share) + square / (4 * rows)) / rows)
  // At 0 and 1 the bound is exact; arithmetic alone would leave it a rounding error away.
  return { low: hits === 0 ? 0 : middle - half, high: hits === rows ? 1 : middle + half }
}

/** Two-sided p-value of "these two shares are the same", by the pooled normal test. */
export function sameShare(hitsA: number, rowsA: number, hitsB: number, rowsB: number): number {
  if (rowsA === 0 || rowsB === 0) return 1
  const pooled = (hitsA + hitsB) / (rowsA + rowsB)
  const spread = Math.sqrt(pooled * (1 - pooled) * (1 / rowsA + 1 / rowsB))
  if (spread === 0) return 1
  return 2 * upperTail(Math.abs(hitsA / rowsA - hitsB / rowsB) / spread)
}

/**
 * Benjamini and Hochberg's adjusted p-values, in the order given: calling everything up to `q` a finding keeps the
 * expected share of false ones at `q`.
 */
export function adjust(ps: readonly number[]): number[] {
  const order = ps.map((_, index) => index).sort((a, b) => (ps[b] ?? 1) - (ps[a] ?? 1))
  const adjusted = new Array<number>(ps.length).fill(1)
  let least = 1
  order.forEach((index, place) => {
    least = Math.min(least, ((ps[index] ?? 1) * ps.length) / (ps.length - place))
    adjusted[index] = least
  })
  return adjusted
}

/** The value below which `share` of the sorted numbers lie, interpolated (type 7, as spreadsheets do). */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const at = (sorted.length - 1) * share
  const low = sorted[Math.floor(at)] ?? Number.NaN
  const high = sorted[Math.ceil(at)] ?? low
  return low + (high - low) * (at - Math.floor(at))
}

/** Cramér's V of a two-outcome table: 0 no association, 1 the segment decides the outcome. */
export function association(cells: readonly { readonly rows: number; readonly hits: number }[]): number {
  const rows = cells.reduce((sum, cell) => sum + cell.rows, 0)
  const hits = cells.reduce((sum, cell) => sum + cell.hits, 0)
  if (rows === 0 || hits === 0 || hits === rows) return 0
  const rate = hits / rows
  const chiSquare = cells.reduce((sum, cell) => {
    if (cell.rows === 0) return sum
    const gap = cell.hits - cell.rows * rate
    return sum + (gap * gap) / (cell.rows * rate * (1 - rate))
  }, 0)
  return Math.sqrt(chiSquare / rows)
}

/** P(Z > z), z ≥ 0: Numerical Recipes' erfc (relative error below 1.2e-7, so tiny p-values keep their order). */
function upperTail(z: number): number {
  const x = z / Math.SQRT2
  const t = 1 / (1 + x / 2)
  const series = [
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196,
    1.00002368, -1.26551223,
  ].reduce((sum, coefficient) => sum * t + coefficient, 0)
  return 0.5 * t * Math.exp(-x * x + series)
}
