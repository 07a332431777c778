import { hash } from 'node:crypto'
import { NexusError } from '../contracts/failure.ts'
import type { Chance } from '../kit/chance.ts'
import { codeOf } from '../storage/disk.ts'
import { type Digest, digestOf, matches } from './digest.ts'
import { createSecret, readSecret } from './secret-file.ts'

/** The key printed in the documentation: everybody knows it. */
export const PUBLISHED_KEY = 'nexusmon_sovereign_key'

type KeyVerdict = 'valid' | 'published' | 'wrong'

/** The secret that approves and overrides; only its hash is in memory. */
export interface OperatorKey {
  /** Names the key in records without telling anything about it: 8 hex digits. */
  readonly keyId: string
  check(given: string): KeyVerdict
}

/**
 * Opens the operator key, and makes one at the first start.
 *
 * @throws NexusError `KEY_FILE_UNSAFE` when others could have read it, or when it is damaged or one that is known.
 */
export async function openOperatorKey(
  file: string,
  chance: Chance,
): Promise<{ key: OperatorKey; created: boolean }> {
  const there = await readSecret(file)
  if (there !== undefined) {
    const reason = whyUseless(there)
    if (reason !== undefined) throw new NexusError('KEY_FILE_UNSAFE', { file, reason })
    return { key: operatorKey(there), created: false }
  }
  const fresh = newOperatorKey(chance)
  try {
    await createSecret(file, fresh)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
    // A link to nowhere, or somebody who was quicker: neither is a key of ours.
    const reason = 'something else was put in its place while it was made'
    throw new NexusError('KEY_FILE_UNSAFE', { file, reason }, { cause: error })
  }
  return { key: operatorKey(fresh), created: true }
}

/** 256 bits of chance, and six characters by which a slip in copying is noticed. */
export function newOperatorKey(chance: Chance): string {
  const body = Buffer.from(chance.bytes(KEY_BYTES)).toString('base64url')
  return `${PREFIX}${body}${checksum(body)}`
}

const PREFIX = 'nxk_'
const KEY_BYTES = 32
const FORM = /^nxk_([A-Za-z0-9_-]{43})([A-Za-z0-9_-]{6})$/

/** Keys that stand in documentation and in every list that is tried first. */
const KNOWN_KEYS = new Set([
  PUBLISHED_KEY,
  'swarmz_sovereign_key',
  'sovereign_key',
  'operator_key',
  'operator_pin',
  'changeme',
  'password',
  'secret',
  'admin',
  'nexus',
])

function operatorKey(text: string): OperatorKey {
  const digest: Digest = digestOf(text)
  return {
    keyId: hash('sha256', `id${text}`).slice(0, 8),
    check(given) {
      if (matches(given, digest)) return 'valid'
      return isKnown(given) ? 'published' : 'wrong'
    },
  }
}

/** However it is spelled: cases, white space and dashes do not make it a secret. */
function isKnown(given: string): boolean {
  return (
    given.length <= 256 &&
    KNOWN_KEYS.has(
      given
        .trim()
        .toLowerCase()
        .replaceAll(/[\s-]+/g, '_'),
    )
  )
}

function whyUseless(text: string): string | undefined {
  if (text === '') return 'it is empty; remove it, and the next start makes a new key'
  if (isKnown(text))
    return 'it holds a key that everybody knows; remove it, and the next start makes a new one'
  const [, body, sum] = FORM.exec(text) ?? []
  if (body === undefined)
    return 'it does not hold a key of this daemon; remove it, and the next start makes a new one'
  return sum === checksum(body)
    ? undefined
    : 'its key is damaged (the checksum does not fit); restore it, or remove it'
}

function checksum(body: string): string {
  return hash('sha256', `${PREFIX}${body}`, 'base64url').slice(0, 6)
}
