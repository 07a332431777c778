import { rm } from 'node:fs/promises'
import type { Chance } from '../kit/chance.ts'
import { digestOf, matches } from './digest.ts'
import { replaceSecret } from './secret-file.ts'

/** The token by which tools of the same account prove who they are; it lives as long as this run of the daemon. */
export interface LocalToken {
  matches(given: string): boolean
  /** Takes the file away, so that nobody finds a token that opens nothing. */
  close(): Promise<void>
}

/** Makes the token anew: one that leaked from an earlier run is worthless. */
export async function makeLocalToken(file: string, chance: Chance): Promise<LocalToken> {
  const text = `nxl_${Buffer.from(chance.bytes(32)).toString('base64url')}`
  const digest = digestOf(text)
  await replaceSecret(file, text)
  return {
    matches: (given) => matches(given, digest),
    close: () => rm(file, { force: true }),
  }
}
