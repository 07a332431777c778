import { hash } from 'node:crypto'
import { chmodSync, linkSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { PERMISSIONS, type Principal, ROLES, type Role } from '../../daemon/contracts/roles.ts'
import { seededChance, systemChance } from '../../daemon/kit/chance.ts'
import { type Authority, authenticate, type Credentials } from '../../daemon/security/authenticate.ts'
import { NO_DEV_MODE, startDevMode } from '../../daemon/security/dev-mode.ts'
import { FailureLimit } from '../../daemon/security/failure-limit.ts'
import { makeLocalToken } from '../../daemon/security/local-token.ts'
import { isLoopback } from '../../daemon/security/loopback.ts'
import { newOperatorKey, openOperatorKey, PUBLISHED_KEY } from '../../daemon/security/operator-key.ts'
import { holds, permit } from '../../daemon/security/permit.ts'
import { shortDir } from '../support/short-dir.ts'
import { TestClock } from '../support/test-clock.ts'

async function refusal(work: () => unknown): Promise<string> {
  try {
    await work()
    return 'accepted'
  } catch (error) {
    if (error instanceof NexusError) return `${error.code} ${String(error.facts['reason'] ?? '')}`.trim()
    throw error
  }
}

const modeOf = (file: string): string => (statSync(file).mode & 0o777).toString(8)

t.test('the first start makes a key of its own, later ones keep it, and the umask has no say', async (t) => {
  const [one, two] = [join(shortDir(t), 'operator_pin.txt'), join(shortDir(t), 'operator_pin.txt')]
  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  const first = await openOperatorKey(one, systemChance)
  const text = readFileSync(one, 'utf8').trim()
  const again = await openOperatorKey(one, systemChance)
  process.umask(0o777)
  await openOperatorKey(two, systemChance)
  process.umask(umask)

  t.match(text, /^nxk_[A-Za-z0-9_-]{49}$/)
  t.not(readFileSync(two, 'utf8').trim(), text)
  t.strictSame(
    [
      first.created,
      again.created,
      modeOf(one),
      modeOf(two),
      first.key.check(text),
      again.key.check(text),
      first.key.keyId,
    ],
    [true, false, '600', '600', 'valid', 'valid', hash('sha256', `id${text}`).slice(0, 8)],
  )
  t.notOk(JSON.stringify(first).includes(text))
})

t.test('a key that others could have read or put there is refused', async (t) => {
  const file = join(shortDir(t), 'operator_pin.txt')
  const other = join(shortDir(t), 'other')
  const good = newOperatorKey(systemChance)
  const write = (text: string, mode = 0o600): void => {
    writeFileSync(file, text)
    chmodSync(file, mode)
  }
  const said: Record<string, string> = {}
  const look = async (what: string, make: () => void): Promise<void> => {
    rmSync(file, { force: true })
    make()
    said[what] = await refusal(() => openOperatorKey(file, systemChance))
  }
  await look('good', () => write(`${good}\n`))
  await look('read by the group', () => write(good, 0o640))
  await look('read by all', () => write(good, 0o644))
  await look('link', () => {
    writeFileSync(other, good, { mode: 0o600 })
    symlinkSync(other, file)
  })
  await look('link to nowhere', () => symlinkSync('nowhere', file))
  await look('hard link', () => linkSync(other, file))
  await look('empty', () => write(''))
  await look('published', () => write('NexusMon_Sovereign_Key\n'))
  await look('weak', () => write('hunter2'))
  await look('torn', () => write(good.slice(0, -1)))
  await look('mistyped', () =>
    write(good.replace(/^nxk_./, (start) => (start === 'nxk_A' ? 'nxk_B' : 'nxk_A'))),
  )
  await look('long', () => write('x'.repeat(513)))
  t.strictSame(said, {
    good: 'accepted',
    'read by the group': 'KEY_FILE_UNSAFE its mode is 640, others than its owner may use it',
    'read by all': 'KEY_FILE_UNSAFE its mode is 644, others than its owner may use it',
    link: 'KEY_FILE_UNSAFE it is a symbolic link',
    'link to nowhere': 'KEY_FILE_UNSAFE it is a symbolic link',
    'hard link': 'KEY_FILE_UNSAFE it has a second name elsewhere (a hard link)',
    empty: 'KEY_FILE_UNSAFE it is empty; remove it, and the next start makes a new key',
    published:
      'KEY_FILE_UNSAFE it holds a key that everybody knows; remove it, and the next start makes a new one',
    weak: 'KEY_FILE_UNSAFE it does not hold a key of this daemon; remove it, and the next start makes a new one',
    torn: 'KEY_FILE_UNSAFE it does not hold a key of this daemon; remove it, and the next start makes a new one',
    mistyped: 'KEY_FILE_UNSAFE its key is damaged (the checksum does not fit); restore it, or remove it',
    long: 'KEY_FILE_UNSAFE it has more than 512 bytes',
  })
})

t.test(
  'published keys are known however they are spelled, and nothing near the right key is right',
  async (t) => {
    const file = join(shortDir(t), 'operator_pin.txt')
    const { key } = await openOperatorKey(file, seededChance(1))
    const text = readFileSync(file, 'utf8').trim()
    const published = [
      PUBLISHED_KEY,
      ' NEXUSMON_SOVEREIGN_KEY\n',
      'nexusmon-sovereign-key',
      'swarmz_sovereign_key',
      'changeme',
      'Admin',
    ]
    const wrong = [
      '',
      ' ',
      text.slice(0, -1),
      `${text} `,
      `${text}x`,
      text.toUpperCase(),
      'x'.repeat(1_000_000),
      'nxk_',
    ]
    t.strictSame(
      [published.map((given) => key.check(given)), wrong.map((given) => key.check(given)), key.check(text)],
      [published.map(() => 'published'), wrong.map(() => 'wrong'), 'valid'],
    )
  },
)

t.test('a key that is deleted while the daemon runs still opens it', async (t) => {
  const file = join(shortDir(t), 'operator_pin.txt')
  const { key } = await openOperatorKey(file, systemChance)
  const text = readFileSync(file, 'utf8').trim()
  rmSync(file)
  t.equal(key.check(text), 'valid')
})

t.test('the local token is new at each start, private, and gone at the end', async (t) => {
  const file = join(shortDir(t), 'local.token')
  const one = await makeLocalToken(file, systemChance)
  const first = readFileSync(file, 'utf8').trim()
  const two = await makeLocalToken(file, systemChance)
  const second = readFileSync(file, 'utf8').trim()
  t.strictSame(
    [one.matches(first), two.matches(second), two.matches(first), two.matches(''), modeOf(file)],
    [true, true, false, false, '600'],
  )
  await two.close()
  t.throws(() => statSync(file))
})

t.test('only failures are limited: five at once, then one in six seconds', async (t) => {
  const clock = new TestClock()
  const limit = new FailureLimit(clock)
  const take = (count: number): number =>
    Array.from({ length: count }, () => limit.take()).filter(Boolean).length
  const heard = [take(100_000), limit.waitSeconds]
  await clock.pass(5_900)
  heard.push(take(1))
  await clock.pass(200)
  heard.push(take(2))
  await clock.pass(3_600_000)
  heard.push(take(100))
  t.strictSame(heard, [5, 6, 0, 1, 5])
})

const OPEN_WORLD = { hosts: ['127.0.0.1'], env: {}, pid: 4_711 }

t.test('--dev starts only where nobody else can reach it, and ends after eight hours', async (t) => {
  const clock = new TestClock()
  const start = (change: object) => refusal(() => startDevMode({ ...OPEN_WORLD, ...change }, clock))
  t.strictSame(
    [
      await start({}),
      await start({ hosts: ['127.0.0.1', '0.0.0.0'] }),
      await start({ env: { NODE_ENV: 'Production' } }),
      await start({ env: { KUBERNETES_SERVICE_HOST: '' } }),
      await start({ pid: 1 }),
    ],
    [
      'accepted',
      'DEV_REFUSED it would listen on 0.0.0.0, which others can reach',
      'DEV_REFUSED NODE_ENV is production',
      'DEV_REFUSED this is a Kubernetes pod',
      'DEV_REFUSED this is the first process of a container',
    ],
  )
  const mode = startDevMode(OPEN_WORLD, clock)
  await clock.pass(8 * 3_600_000 - 1)
  clock.jump(24 * 3_600_000)
  t.equal(mode.active, true)
  await clock.pass(1)
  t.equal(mode.active, false)
})

t.test('loopback is an address of this machine, not a name that looks like one', async (t) => {
  const inside = ['127.0.0.1', '127.9.9.9', '::1', '[::1]', 'localhost', 'LOCALHOST']
  const outside = ['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example.org', '127.1', 'localhost.example.org', '']
  t.strictSame(
    [inside.filter((host) => !isLoopback(host)), outside.filter((host) => isLoopback(host))],
    [[], []],
  )
})

async function authority(t: { teardown(undo: () => void): void }) {
  const dir = shortDir(t)
  const clock = new TestClock()
  const keyFile = join(dir, 'operator_pin.txt')
  const tokenFile = join(dir, 'local.token')
  const { key } = await openOperatorKey(keyFile, systemChance)
  const localToken = await makeLocalToken(tokenFile, systemChance)
  const tokens = [
    { principal: 'aeon@company.com', roles: ['aeon', 'nonsense'], sha256: hash('sha256', 'aeon-token') },
  ]
  const failures = new FailureLimit(clock)
  const base: Authority = { operatorKey: key, devMode: NO_DEV_MODE, localToken, tokens, failures }
  const [operator, local] = [keyFile, tokenFile].map((file) => readFileSync(file, 'utf8').trim())
  return { base, clock, operator: operator ?? '', local: local ?? '', keyId: key.keyId }
}

/** Who a request is, in short; or how it was refused. */
function who(credentials: Partial<Credentials>, against: Authority): string {
  try {
    const { kind, name, roles, published } = authenticate(
      { surface: 'tcp-loopback', ...credentials },
      against,
    )
    return [kind, name, roles.join('+') || 'nothing', ...(published === true ? ['published'] : [])].join(' ')
  } catch (error) {
    if (error instanceof NexusError) return `${error.status} ${error.code}`
    throw error
  }
}

t.test('who shows nothing is anonymous, who shows something must be right', async (t) => {
  const { base, operator, local, keyId } = await authority(t)
  const patient = { ...base, failures: { take: () => true } as unknown as FailureLimit }
  const cases: Record<string, Partial<Credentials>> = {
    nothing: {},
    'nothing on the socket': { surface: 'socket' },
    'nothing from elsewhere': { surface: 'tcp' },
    'local token': { bearer: local },
    'a configured token': { bearer: 'aeon-token' },
    'a wrong token': { bearer: 'aeon-tokem' },
    'an empty token': { bearer: '' },
    'the key as a token': { bearer: operator },
    'the key in the header': { operatorKeyHeader: operator },
    'the key in the body': { bodyKey: operator },
    'token and key': { bearer: 'aeon-token', bodyKey: operator },
    'wrong token, right key': { bearer: 'x', bodyKey: operator },
    'right key, wrong key': { operatorKeyHeader: operator, bodyKey: 'x' },
    'an empty key': { bodyKey: '' },
    'a prefix of the key': { bodyKey: operator.slice(0, -1) },
    'the published key': { bodyKey: PUBLISHED_KEY },
    'local token and wrong key': { bearer: local, bodyKey: 'x' },
  }
  t.strictSame(
    Object.fromEntries(Object.entries(cases).map(([name, given]) => [name, who(given, patient)])),
    {
      nothing: 'anonymous anonymous submitter',
      'nothing on the socket': 'anonymous anonymous submitter',
      'nothing from elsewhere': 'anonymous anonymous nothing',
      'local token': 'local local admin',
      'a configured token': 'token aeon@company.com aeon',
      'a wrong token': '401 UNAUTHENTICATED',
      'an empty token': '401 UNAUTHENTICATED',
      'the key as a token': '401 UNAUTHENTICATED',
      'the key in the header': `key operator-${keyId} admin`,
      'the key in the body': `key operator-${keyId} admin`,
      'token and key': `key aeon@company.com+operator-${keyId} admin`,
      'wrong token, right key': '401 UNAUTHENTICATED',
      'right key, wrong key': '401 UNAUTHENTICATED',
      'an empty key': '401 UNAUTHENTICATED',
      'a prefix of the key': '401 UNAUTHENTICATED',
      'the published key': '401 PUBLISHED_KEY',
      'local token and wrong key': '401 UNAUTHENTICATED',
    },
  )
})

t.test(
  'the published key opens under --dev, marked, on this machine only, and only as it is printed',
  async (t) => {
    const { base, clock } = await authority(t)
    const dev = { ...base, devMode: startDevMode(OPEN_WORLD, clock) }
    const published = { bodyKey: PUBLISHED_KEY }
    const found = [
      who(published, dev),
      who({ ...published, surface: 'socket' }, dev),
      who({ ...published, surface: 'tcp' }, dev),
      who({ bodyKey: PUBLISHED_KEY.toUpperCase() }, dev),
      who({ bodyKey: 'changeme' }, dev),
    ]
    await clock.pass(8 * 3_600_000)
    found.push(who(published, dev))
    t.strictSame(found, [
      'key published-key admin published',
      'key published-key admin published',
      '401 PUBLISHED_KEY',
      '401 PUBLISHED_KEY',
      '401 PUBLISHED_KEY',
      '401 PUBLISHED_KEY',
    ])
  },
)

t.test('a flood of guesses is told to wait, and never locks out who has the key', async (t) => {
  const { base, operator, local } = await authority(t)
  const answers = new Map<string, number>()
  for (let guess = 0; guess < 1_000; guess += 1) {
    const answer = who({ bodyKey: `guess ${guess}` }, base)
    answers.set(answer, (answers.get(answer) ?? 0) + 1)
  }
  t.strictSame(
    [...answers],
    [
      ['401 UNAUTHENTICATED', 5],
      ['429 GUESSES_LIMITED', 995],
    ],
  )
  t.match([who({ bodyKey: operator }, base), who({ bearer: local }, base)], [/^key/, /^local/])
})

t.test('what no role lists is refused, and each role holds what the table says', async (t) => {
  const principal = (roles: readonly Role[], more: Partial<Principal> = {}): Principal => ({
    kind: 'token',
    name: 'somebody',
    roles,
    permissions: [],
    ...more,
  })
  const held = (who: Principal) => PERMISSIONS.filter((permission) => holds(who, permission))
  t.strictSame(held(principal([])), [])
  t.strictSame(held(principal(['toString' as Role, '__proto__' as Role])), [])
  for (const role of Object.keys(ROLES) as Role[]) {
    t.strictSame(
      held(principal([role])),
      PERMISSIONS.filter((permission) => (ROLES[role] as readonly string[]).includes(permission)),
      role,
    )
  }
  t.strictSame(held(principal(['auditor'], { permissions: ['module.stop'] })), ['module.stop', 'audit.read'])
  t.throws(() => permit(principal(['viewer']), 'module.stop'), {
    code: 'PERMISSION_DENIED',
    message: 'somebody lacks the permission module.stop',
  })
})
