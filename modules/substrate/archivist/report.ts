import type { Skipped } from './folders.ts'
import type { Hit, Searched } from './hit.ts'
import type { Snippet } from './snippet.ts'

export interface Reportable {
  readonly summary: string
  readonly query: string
  readonly terms: readonly string[]
  readonly found: number
  readonly hits: readonly (Hit & { readonly more: readonly Snippet[] })[]
  readonly searched: Searched
  readonly skipped: Skipped
}

const WHY: Readonly<Record<keyof Skipped, string>> = {
  other_type: 'files of other types',
  too_large: 'files that are too large',
  binary: 'binary files',
  links: 'links',
  unreadable: 'files or lines that could not be read',
  folders: 'folders that are hidden, unwanted, or the daemon’s own',
  beyond_limit: 'files beyond the limits of the index',
}

/** `report.md` of a search. */
export function report({ summary, query, terms, found, hits, searched, skipped }: Reportable): string {
  const over = Object.entries(skipped)
    .filter(([, times]) => times > 0)
    .map(([why, times]) => `- ${WHY[why as keyof Skipped]}: ${times}`)
  const parts = [
    `# Search: ${plain(query.replace(/\s+/g, ' ').slice(0, 200))}`,
    `**${plain(summary)}**`,
    ...hits.map((hit, at) => section(hit, at + 1)),
    found > hits.length ? `${found - hits.length} more fit less.` : '',
    '## What was searched',
    `${searched.missions} missions, ${searched.kept} kept results, ${searched.files} files, ${searched.given} given ` +
      `documents, for the stems ${terms.map((term) => `\`${term}\``).join(', ')} (BM25, times the share of these ` +
      'that a document has).',
    over.length === 0 ? '' : `Passed over:\n\n${over.join('\n')}`,
  ]
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`
}

function section(hit: Reportable['hits'][number], place: number): string {
  const kind = { mission: 'mission', kept: 'kept result', file: 'file', given: 'given document' }[hit.source]
  const also = hit.also === undefined ? '' : `, and ${hit.also} more with the same goal`
  const lines = [{ line: hit.line, text: hit.snippet }, ...hit.more].filter(({ text }) => text !== '')
  return [
    `## ${place}. ${plain(hit.title)}`,
    `${kind} \`${hit.where.replaceAll('`', '')}\`${also} · score ${hit.score.toFixed(2)}`,
    ...(lines.length === 0
      ? []
      : [
          lines
            .map(({ line, text }) => `- ${hit.source === 'file' ? `line ${line}: ` : ''}${code(text)}`)
            .join('\n'),
        ]),
  ].join('\n\n')
}

/** A code span that the text cannot end. */
function code(text: string): string {
  const fence = '`'.repeat(1 + Math.max(0, ...(text.match(/`+/g) ?? []).map((run) => run.length)))
  return fence.length === 1 ? `\`${text}\`` : `${fence} ${text} ${fence}`
}

/** What was found comes from elsewhere: nothing in it may act as Markdown. */
function plain(text: string): string {
  return text.replace(/[\\`*{}[\]<>|#]|(?<!\w)_|_(?!\w)/g, '\\$&')
}
