import { dirname, relative } from 'node:path'
import type { ActionContext } from 'aeon-nexus/module'
import { nothingSkipped, type Skipped } from './folders.ts'
import type { Hit, Searched } from './hit.ts'
import type { Kept, Library } from './library.ts'
import type { Scored } from './postings.ts'
import { reach } from './reach.ts'
import { report } from './report.ts'
import type { Settings } from './settings.ts'
import { readText, Shelf, type Shelved } from './shelf.ts'
import { type Snippet, snippets } from './snippet.ts'
import { queryTerms } from './words.ts'

/** Answers above 8 KiB belong into artifacts: so much of it may be hits. */
const HITS_BYTES_MAX = 6_000
const REPORT_HITS_MAX = 100

export interface SearchRequest {
  readonly query: string
  readonly in?: string | readonly string[]
  readonly history?: boolean
  readonly documents?: readonly { readonly name: string; readonly text: string }[]
  readonly limit?: number
  readonly keep_as?: string
  readonly note?: string
  readonly artifacts?: boolean
}

/** Brings the shelf up to date, searches it, and writes down what it found. */
export async function search(
  request: SearchRequest,
  shelf: Shelf,
  library: Library,
  settings: Settings,
  ctx: ActionContext,
): Promise<object> {
  const terms = queryTerms(request.query)
  if (terms.length === 0) throw new Error(`the query ${JSON.stringify(request.query)} has no word in it`)
  const skipped = nothingSkipped()
  const given = request.documents === undefined ? shelf : shelfOf(request.documents)
  const paths = await prepare(request, given, library, settings, ctx, skipped)

  const scope = (document: Shelved): boolean => {
    if (document.source === 'file') return paths.has(document.key)
    if (document.source === 'given') return true
    // Neither the asking mission nor what an earlier run of the same query kept answers anything.
    const own = document.key === ctx.mission?.mission_id || document.text?.startsWith(`${request.query}\n`)
    return request.history !== false && own !== true
  }
  const all = given.index.documents().filter(scope)
  const scored = together(given.index.search(terms, scope))
  ctx.progress(0.8, 'reading the best ones')
  const limit = request.limit ?? 10
  const hits = await Promise.all(
    scored.slice(0, limit).map((each) => describe(each, terms, given, ctx.roots)),
  )

  const searched = countSources(all)
  const summary = say(request.query, scored.length, searched, hits[0])
  const answer = {
    summary,
    query: request.query,
    terms,
    found: scored.length,
    hits: fit(hits.map(({ more: _more, ...hit }) => hit)),
    searched,
    skipped,
  }
  const artifacts = request.artifacts === false ? [] : ['report.md']
  for (const name of artifacts) {
    const text = report({ ...answer, hits: hits.slice(0, REPORT_HITS_MAX) })
    await ctx.artifact(name, text, 'text/markdown')
  }
  if (request.keep_as === undefined) return { ...answer, artifacts }
  const kept = await library.keep(
    { ...entryOf(request.keep_as, request.query, request.note, ctx), hits: answer.hits },
    settings.library_max,
  )
  return { ...answer, artifacts, kept_as: kept.name }
}

/** What is kept of a search, whoever asks for it. */
export function entryOf(
  name: string,
  query: string,
  note: string | undefined,
  ctx: ActionContext,
): Omit<Kept, 'kept_at' | 'revision' | 'hits'> {
  const mission = ctx.mission === undefined ? {} : { mission_id: ctx.mission.mission_id }
  return { name, query, note: note ?? '', ...mission }
}

async function prepare(
  request: SearchRequest,
  shelf: Shelf,
  library: Library,
  settings: Settings,
  ctx: ActionContext,
  skipped: Skipped,
): Promise<ReadonlySet<string>> {
  const wanted = typeof request.in === 'string' ? [request.in] : (request.in ?? [])
  const tops = await Promise.all(wanted.map((path) => reach(path, ctx.roots)))
  if (request.history !== false) {
    if (ctx.records !== undefined) {
      skipped.unreadable += await shelf.takeHistory(ctx.records, settings, ctx.signal)
    }
    shelf.takeKept(await library.entries())
  }
  // The daemon's own folder holds keys and records: it is searched through its history only.
  const closed = ctx.records === undefined ? [] : [dirname(ctx.records.missions)]
  const paths = await shelf.takeFiles(tops, settings, closed, skipped, ctx.signal)
  ctx.progress(0.6, 'index up to date')
  return paths
}

function shelfOf(documents: readonly { readonly name: string; readonly text: string }[]): Shelf {
  const shelf = new Shelf()
  for (const { name, text } of documents) {
    shelf.index.add({ key: name, source: 'given', title: name, bytes: text.length, stamp: '', text }, text)
  }
  return shelf
}

/** Missions with the same goal are one hit, the best of them, with the number of the others. */
function together(scored: readonly Scored<Shelved>[]): (Scored<Shelved> & { also: number })[] {
  const byGoal = new Map<string, Scored<Shelved> & { also: number }>()
  return scored.flatMap((each) => {
    if (each.document.source !== 'mission') return [{ ...each, also: 0 }]
    const known = byGoal.get(each.document.title)
    if (known !== undefined) {
      known.also += 1
      return []
    }
    const first = { ...each, also: 0 }
    byGoal.set(each.document.title, first)
    return [first]
  })
}

async function describe(
  { document, score, also }: Scored<Shelved> & { also: number },
  terms: readonly string[],
  shelf: Shelf,
  roots: readonly string[],
): Promise<Hit & { more: Snippet[] }> {
  const read = document.text === undefined ? await readText(document.key) : { content: document.text }
  const content = typeof read === 'object' ? read.content : ''
  const weight = (term: string): number => 1 / (1 + Math.log(1 + shelf.index.frequency(term)))
  const [best, ...more] = snippets(content, terms, weight, 3)
  const root = roots.find((each) => document.key.startsWith(`${each}/`))
  return {
    source: document.source,
    where: document.source === 'kept' ? document.title : document.key,
    title: (document.source === 'file' && root !== undefined
      ? relative(root, document.key)
      : document.title
    ).slice(0, 200),
    score: Math.round(score * 1_000) / 1_000,
    line: best?.line ?? 1,
    snippet: best?.text ?? '',
    ...(also === 0 ? {} : { also }),
    more,
  }
}

function countSources(documents: readonly Shelved[]): Searched {
  const count = (wanted: Shelved['source']): number =>
    documents.filter(({ source }) => source === wanted).length
  return { missions: count('mission'), kept: count('kept'), files: count('file'), given: count('given') }
}

function fit<T>(hits: readonly T[]): T[] {
  let bytes = 0
  return hits.filter((hit) => {
    bytes += Buffer.byteLength(JSON.stringify(hit))
    return bytes <= HITS_BYTES_MAX
  })
}

function say(query: string, found: number, searched: Searched, first: Hit | undefined): string {
  const names = { missions: 'mission', kept: 'kept result', files: 'file', given: 'given document' }
  const places = Object.entries(searched)
    .filter(([, times]) => times > 0)
    .map(([kind, times]) => `${times} ${names[kind as keyof Searched]}${times === 1 ? '' : 's'}`)
    .join(', ')
  if (places === '') return 'There was nothing to search: no missions have run yet, and no folder was named.'
  const best =
    first === undefined ? '' : `; best: ${first.title}${first.source === 'file' ? `:${first.line}` : ''}`
  return `${found} of ${places} fit ${JSON.stringify(query.slice(0, 200))}${best}.`
}
