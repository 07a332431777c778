import { hash, timingSafeEqual } from 'node:crypto'

/** Longer than any secret of ours: nothing that long is worth hashing. */
const SECRET_LENGTH_MAX = 1_024

/** What is kept of a secret. */
export type Digest = Buffer

export function digestOf(secret: string): Digest {
  return hash('sha256', secret, 'buffer')
}

/** Whether this is the secret, in a time that does not tell how nearly it is. */
export function matches(given: string, digest: Digest): boolean {
  return given.length <= SECRET_LENGTH_MAX && timingSafeEqual(digestOf(given), digest)
}

/** The places of the secrets that this is, each compared like that; what was given is hashed once for all. */
export function matchesOf(given: string, digests: readonly Digest[]): readonly number[] {
  if (digests.length === 0 || given.length > SECRET_LENGTH_MAX) return []
  const shown = digestOf(given)
  return digests.flatMap((digest, place) => (timingSafeEqual(shown, digest) ? [place] : []))
}
