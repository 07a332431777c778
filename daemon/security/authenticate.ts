import type { TokenEntry } from '../contracts/config.ts'
import { NexusError } from '../contracts/failure.ts'
import { type Principal, ROLES, type Role } from '../contracts/roles.ts'
import type { DevMode } from './dev-mode.ts'
import { type Digest, matchesOf } from './digest.ts'
import type { FailureLimit } from './failure-limit.ts'
import type { LocalToken } from './local-token.ts'
import { type OperatorKey, PUBLISHED_KEY } from './operator-key.ts'

/** What a request shows to say who it is. */
export interface Credentials {
  /** Who is known already: code in the daemon's own process. */
  readonly known?: Principal
  /** Of `Authorization: Bearer …`. */
  readonly bearer?: string | undefined
  readonly operatorKeyHeader?: string | undefined
  /** `operator_key` of the body. */
  readonly bodyKey?: string | undefined
  readonly surface: 'tcp-loopback' | 'tcp' | 'socket'
}

/** Against what credentials are held. */
export interface Authority {
  readonly operatorKey: OperatorKey
  readonly devMode: DevMode
  readonly localToken: LocalToken
  readonly tokens: readonly TokenEntry[]
  readonly failures: FailureLimit
}

/**
 * Says who is asking.
 *
 * What is shown must be right, always: a wrong token does not fall back to anonymous, since its sender believes to be
 * somebody. A valid operator key lends `admin` for this one request.
 *
 * @throws NexusError `UNAUTHENTICATED`, `PUBLISHED_KEY`, or `GUESSES_LIMITED` after too many of these.
 */
export function authenticate(credentials: Credentials, authority: Authority): Principal {
  const { known, bearer, operatorKeyHeader, bodyKey, surface } = credentials
  const base = known ?? (bearer === undefined ? anonymous(surface) : ofToken(bearer, authority))
  const keys = [operatorKeyHeader, bodyKey].filter((key) => key !== undefined)
  // Each key that is shown is checked: two may differ.
  const lent = keys.map((key) => withKey(base, key, surface, authority))
  return lent.find(({ published }) => published === true) ?? lent[0] ?? base
}

function anonymous(surface: Credentials['surface']): Principal {
  const roles: Role[] = surface === 'tcp' ? [] : ['submitter']
  return { kind: 'anonymous', name: 'anonymous', roles, permissions: [] }
}

function ofToken(bearer: string, { localToken, tokens, failures }: Authority): Principal {
  // Each is compared, so that the time does not tell which came near.
  const [place = -1] = matchesOf(
    bearer,
    tokens.map(({ sha256 }) => digestFrom(sha256)),
  )
  const entry = tokens[place]
  if (localToken.matches(bearer)) return { kind: 'local', name: 'local', roles: ['admin'], permissions: [] }
  if (entry === undefined) throw refused(failures, 'UNAUTHENTICATED')
  const roles = entry.roles.filter((role): role is Role => Object.hasOwn(ROLES, role))
  return { kind: 'token', name: entry.principal, roles, permissions: [] }
}

function withKey(
  base: Principal,
  key: string,
  surface: Credentials['surface'],
  { operatorKey, devMode, failures }: Authority,
): Principal {
  const verdict = operatorKey.check(key)
  if (verdict === 'valid') return admin(base, `operator-${operatorKey.keyId}`)
  if (verdict === 'wrong') throw refused(failures, 'UNAUTHENTICATED')
  if (key === PUBLISHED_KEY && devMode.active && surface !== 'tcp') {
    return { ...admin(base, 'published-key'), published: true }
  }
  throw refused(failures, 'PUBLISHED_KEY')
}

/** The person behind a token stays in the name, so that the records tell who used the key. */
function admin(base: Principal, key: string): Principal {
  const name = base.kind === 'anonymous' ? key : `${base.name}+${key}`
  return { kind: 'key', name, roles: ['admin'], permissions: [] }
}

function refused(failures: FailureLimit, code: 'UNAUTHENTICATED' | 'PUBLISHED_KEY'): NexusError {
  return failures.take()
    ? new NexusError(code)
    : new NexusError('GUESSES_LIMITED', { seconds: failures.waitSeconds })
}

function digestFrom(hex: string): Digest {
  return Buffer.from(hex, 'hex')
}
