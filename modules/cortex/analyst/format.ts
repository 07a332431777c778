/** 1,234,567 */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** 1 row, 1,234 rows */
export function many(value: number, word: string): string {
  return `${count(value)} ${word}${value === 1 ? '' : 's'}`
}

/** 15.47 % */
export function percent(share: number): string {
  return `${(share * 100).toFixed(2)} %`
}

/** 14.85–16.12 % */
export function span(low: number, high: number): string {
  return `${(low * 100).toFixed(2)}–${(high * 100).toFixed(2)} %`
}

/** Four significant digits, without an exponent where a person would not write one. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value < 0 ? `-${count(-value)}` : count(value)
  const size = Math.abs(value)
  if (size >= 1e15 || size < 1e-4) return value.toExponential(3)
  if (size >= 1_000) return figure(Math.round(value))
  return String(Number(value.toPrecision(4)))
}

/** 850 ms, 12.3 s, 4.2 min */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`
  return `${(ms / 60_000).toFixed(1)} min`
}

/** Text of somebody else's inside a Markdown table: one line, no bars, no markup, at most 60 characters. */
export function cell(text: string): string {
  const line = text.replace(/\s+/g, ' ')
  const short = line.length > 60 ? `${line.slice(0, 59)}…` : line
  return plain(short)
}

/** Names of columns and values come from the file: nothing in them may act as Markdown. */
export function plain(text: string): string {
  return text.replace(/[\\`*{}[\]<>|#]|(?<!\w)_|_(?!\w)/g, '\\$&')
}

/** Six digits after the point are more than any of these numbers knows. */
export function round(value: number): number {
  return Math.round(value * 1e6) / 1e6
}
