import { stripVTControlCharacters, styleText } from 'node:util'

/** One column of a table. */
export interface Column<Row> {
  readonly head: string
  readonly cell: (row: Row) => string
  readonly align?: 'right'
  /** Colour for the finished cell; padding is done before, so it does not count. */
  readonly paint?: (cell: string, row: Row) => string
}

/**
 * Rows as aligned columns without borders.
 *
 * @param widthMax - Columns of the terminal; the last column is cut there. Undefined when nobody looks: a program
 *   that reads the text wants all of it.
 */
export function table<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  widthMax: number | undefined = process.stdout.isTTY ? process.stdout.columns : undefined,
): string {
  const cells = rows.map((row) => columns.map((column) => clean(column.cell(row))))
  const widths = columns.map(({ head }, at) =>
    Math.max(head.length, ...cells.map((row) => row[at]?.length ?? 0)),
  )
  const before = widths.slice(0, -1).reduce((sum, width) => sum + width + GAP.length, 0)
  const room = widthMax === undefined ? Infinity : Math.max(8, widthMax - before)
  const line = (texts: readonly string[], row?: Row): string =>
    columns
      .map((column, at) => {
        const last = at === columns.length - 1
        const padded = pad(texts[at] ?? '', widths[at] ?? 0, column.align, last)
        const shown = last && padded.length > room ? `${padded.slice(0, room - 1)}…` : padded
        return row !== undefined && column.paint ? column.paint(shown, row) : shown
      })
      .join(GAP)
      .trimEnd()
  const body = rows.map((row, at) => line(cells[at] ?? [], row))
  return `${[line(columns.map(({ head }) => head)), ...body].join('\n')}\n`
}

/** `key  value` lines, aligned; what is undefined is left out. */
export function fields(entries: readonly (readonly [string, string | undefined])[]): string {
  const shown = entries.filter((entry): entry is [string, string] => entry[1] !== undefined)
  const width = Math.max(0, ...shown.map(([key]) => key.length))
  return shown.map(([key, value]) => `${key.padEnd(width)}  ${clean(value)}\n`).join('')
}

/** Text of others on one line: what a module or a goal says must not move the cursor or forge a line. */
export function clean(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return stripVTControlCharacters(text).replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
}

/** `12s`, `3m`, `5h`, `9d`: as much as one needs to know how long something has been so. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`
  if (seconds < 48 * 3_600) return `${Math.floor(seconds / 3_600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** The age of an RFC 3339 time. */
export function since(time: string | null | undefined, nowMs: number): string {
  return time ? age(nowMs - Date.parse(time)) : '-'
}

/** `850ms`, `1.2s`, `3m`: how long something took. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return '-'
  if (ms < 1_000) return `${Math.round(ms)}ms`
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)}s`
  return age(ms)
}

/** `11.2 MiB`. */
export function size(bytes: number): string {
  if (bytes < 1_024) return `${bytes} B`
  const exponent = Math.min(4, Math.floor(Math.log2(bytes) / 10))
  return `${(bytes / 1_024 ** exponent).toFixed(1)} ${['', 'KiB', 'MiB', 'GiB', 'TiB'][exponent]}`
}

type Tone = 'good' | 'warn' | 'bad' | 'dim' | 'head'
const COLOURS = { good: 'green', warn: 'yellow', bad: 'red', dim: 'dim', head: 'bold' } as const

/** Colour where somebody sees it: on a terminal, and not under NO_COLOR. Never the only carrier of a meaning. */
export function tone(name: Tone, text: string): string {
  return styleText(COLOURS[name], text, { stream: process.stdout })
}

const GAP = '  '

function pad(text: string, width: number, align: 'right' | undefined, last: boolean): string {
  if (align === 'right') return text.padStart(width)
  return last ? text : text.padEnd(width)
}
