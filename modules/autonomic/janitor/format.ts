/** `1.5 GiB` */
export function bytes(value: number): string {
  const size = Math.abs(value)
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const step = size < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(size) / 10))
  return `${(value / 1024 ** step).toFixed(step === 0 ? 0 : 1)} ${units[step]}`
}

/** Minutes as people say them. */
export function hours(minutes: number): string {
  return minutes < 90 ? `${Math.round(minutes)} min` : `${(minutes / 60).toFixed(1)} h`
}

/** A Markdown table. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]): string =>
    `| ${cells.map((cell) => plain(String(cell))).join(' | ')} |`
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)].join('\n')
}

/** Names come from elsewhere: nothing in them may act as Markdown. */
export function plain(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\\*[\]<>|#]/g, '\\$&')
}
