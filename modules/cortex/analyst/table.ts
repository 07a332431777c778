import { stat } from 'node:fs/promises'
import { basename, extname } from 'node:path'
import { CsvReader, looksLikeHeader, sniffDelimiter } from './csv.ts'
import { many } from './format.ts'
import { ArrayReader, flatten, LinesReader, type RecordReader } from './json.ts'
import { reach } from './reach.ts'
import { type ReadWatch, textOf } from './text.ts'

/** More columns than this are no table a person could read, and their tallies would not fit the memory. */
const COLUMNS_MAX = 500

export interface TableRequest {
  readonly path?: string
  readonly records?: readonly Readonly<Record<string, unknown>>[]
  readonly format?: 'csv' | 'json' | 'jsonl'
  readonly delimiter?: string
  readonly header?: boolean
}

/**
 * Records as rows of text cells, read as often as one likes without holding them.
 *
 * `columns` is complete once `rows` has been read to its end: JSON records may bring new ones as they come. A cell that
 * a row lacks is undefined or empty.
 */
export interface Table {
  readonly name: string
  readonly format: 'csv' | 'json' | 'jsonl' | 'records'
  readonly bytes: number
  readonly columns: readonly string[]
  /** What a reader should know about how it was read; complete after a reading. */
  notes(): string[]
  /** Rows in batches. `onShare` hears how much of it is read, 0..1. */
  rows(signal: AbortSignal, onShare?: (share: number) => void): AsyncGenerator<readonly Row[]>
}

export type Row = readonly (string | undefined)[]

/** Opens what the request names; a file must lie inside `roots`. */
export async function openTable(request: TableRequest, roots: readonly string[]): Promise<Table> {
  if (request.records !== undefined) return recordsTable(request.records)
  if (request.path === undefined) throw new Error('neither path nor records is given')
  const path = await reach(request.path, roots)
  const bytes = (await stat(path)).size
  const format = request.format ?? (await formatOf(path))
  return format === 'csv' ? csvTable(path, bytes, request) : jsonTable(path, bytes, format)
}

function csvTable(path: string, bytes: number, request: TableRequest): Table {
  const columns: string[] = []
  let headed = request.header
  let uneven = 0
  let damaged = false
  let delimiter = request.delimiter

  function open(first: readonly string[]): boolean {
    headed ??= looksLikeHeader(first)
    if (columns.length === 0) columns.push(...nameColumns(headed ? first : first.map(() => '')))
    guard(columns.length)
    return headed
  }

  async function* rows(
    signal: AbortSignal,
    onShare?: (share: number) => void,
  ): AsyncGenerator<readonly Row[]> {
    let reader: CsvReader | undefined
    let opened = false
    uneven = 0
    const finish = (records: string[][]): Row[] => {
      const batch = !opened && records[0] !== undefined && open(records[0]) ? records.slice(1) : records
      opened ||= records.length > 0
      for (const row of batch) if (row.length !== columns.length) uneven += 1
      return batch
    }
    for await (const text of textOf(path, watch(bytes, signal, onShare))) {
      delimiter ??= sniffDelimiter(text)
      reader ??= new CsvReader(delimiter)
      damaged ||= text.includes('\ufffd')
      yield finish(reader.push(text))
    }
    yield finish(reader?.end() ?? [])
  }

  const notes = (): string[] => [
    ...(headed === false
      ? ['The first row holds no names, so columns are called column_1, column_2 and so on.']
      : []),
    ...(uneven > 0 ? [`More or fewer cells than the header: ${many(uneven, 'row')}.`] : []),
    ...(damaged ? ['Some characters are not UTF-8 and were replaced.'] : []),
  ]
  return { name: basename(path), format: 'csv', bytes, columns, notes, rows }
}

function jsonTable(path: string, bytes: number, format: 'json' | 'jsonl'): Table {
  const columns: string[] = []
  const lay = layOut(columns)
  let skipped = 0

  async function* rows(
    signal: AbortSignal,
    onShare?: (share: number) => void,
  ): AsyncGenerator<readonly Row[]> {
    const reader: RecordReader = format === 'json' ? new ArrayReader() : new LinesReader()
    for await (const text of textOf(path, watch(bytes, signal, onShare))) yield reader.push(text).map(lay)
    yield reader.end().map(lay)
    skipped = reader.skipped
  }

  const notes = (): string[] =>
    skipped > 0 ? [`Left out: ${many(skipped, 'record')} without a JSON object.`] : []
  return { name: basename(path), format, bytes, columns, notes, rows }
}

function recordsTable(records: readonly Readonly<Record<string, unknown>>[]): Table {
  const columns: string[] = []
  const lay = layOut(columns)
  async function* rows(): AsyncGenerator<readonly Row[]> {
    yield records.map(lay)
  }
  return { name: 'the given records', format: 'records', bytes: 0, columns, notes: () => [], rows }
}

function layOut(columns: string[]): (record: Readonly<Record<string, unknown>>) => Row {
  const places = new Map<string, number>()
  return (record) => {
    const row: (string | undefined)[] = []
    flatten(record, (name, value) => {
      let place = places.get(name)
      if (place === undefined) {
        place = columns.push(name) - 1
        guard(columns.length)
        places.set(name, place)
      }
      row[place] = value
    })
    return row
  }
}

/** An array is read element by element, anything else line by line. */
async function formatOf(path: string): Promise<'csv' | 'json' | 'jsonl'> {
  const extension = extname(path).toLowerCase()
  if (extension === '.jsonl' || extension === '.ndjson') return 'jsonl'
  if (extension !== '.json') return 'csv'
  for await (const text of textOf(path)) return text.trimStart().startsWith('[') ? 'json' : 'jsonl'
  return 'json'
}

function nameColumns(names: readonly string[]): string[] {
  const used = new Set<string>()
  return names.map((given, index) => {
    const base = given.trim() === '' ? `column_${index + 1}` : given.trim()
    let name = base
    for (let turn = 2; used.has(name); turn += 1) name = `${base}_${turn}`
    used.add(name)
    return name
  })
}

function guard(columns: number): void {
  if (columns > COLUMNS_MAX) throw new Error(`more than ${COLUMNS_MAX} columns: give the analyst fewer`)
}

function watch(bytes: number, signal: AbortSignal, onShare?: (share: number) => void): ReadWatch {
  return { signal, onBytes: (read) => onShare?.(bytes === 0 ? 1 : Math.min(1, read / bytes)) }
}
