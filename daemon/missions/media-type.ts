import type { ArtifactRef } from '../contracts/module.ts'

/** What a file is served as: what its module said, else what its name says. */
export function mediaTypeOf({ name, media_type }: Pick<ArtifactRef, 'name' | 'media_type'>): string {
  if (media_type !== UNKNOWN && MEDIA_TYPE.test(media_type)) return media_type
  const ending = name.slice(name.lastIndexOf('.') + 1).toLowerCase()
  return BY_ENDING.get(ending) ?? UNKNOWN
}

/** What a module that says nothing says. */
const UNKNOWN = 'application/octet-stream'
const MEDIA_TYPE = /^[a-z]+\/[\w.+-]{1,80}(; ?charset=[\w-]{1,20})?$/i
/** What reports, exports and pictures end with. */
const BY_ENDING: ReadonlyMap<string, string> = new Map([
  ['json', 'application/json'],
  ['ndjson', 'application/x-ndjson'],
  ['jsonl', 'application/x-ndjson'],
  ['txt', 'text/plain; charset=utf-8'],
  ['log', 'text/plain; charset=utf-8'],
  ['md', 'text/markdown; charset=utf-8'],
  ['csv', 'text/csv; charset=utf-8'],
  ['html', 'text/html; charset=utf-8'],
  ['xml', 'application/xml'],
  ['yaml', 'application/yaml'],
  ['yml', 'application/yaml'],
  ['pdf', 'application/pdf'],
  ['png', 'image/png'],
  ['jpg', 'image/jpeg'],
  ['jpeg', 'image/jpeg'],
  ['gif', 'image/gif'],
  ['webp', 'image/webp'],
  ['svg', 'image/svg+xml'],
  ['zip', 'application/zip'],
  ['gz', 'application/gzip'],
  ['tar', 'application/x-tar'],
])
