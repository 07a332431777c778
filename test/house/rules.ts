import { posix } from 'node:path'
import type { Import } from './source.ts'

/** Imports go down this list, never up, and never sideways between names on one line. */
const RUNGS: readonly (readonly string[])[] = [
  ['contracts'],
  ['kit'],
  ['storage', 'telemetry'],
  ['catalog', 'host', 'listen', 'security'],
  ['gate', 'supervisor'],
  ['health', 'missions'],
  ['insight'],
  ['healing', 'chaos', 'maintenance'],
  ['surfaces'],
]
const TOP = RUNGS.length

/** Rooms whose every file may be imported from above; the others have a door. */
const OPEN_GROUND = new Set(['contracts', 'kit', 'storage', 'telemetry', 'security'])

/** Who may import a package; a folder ends with a slash. One that is not here is imported by nobody. */
const PACKAGE_DOORS: Readonly<Record<string, readonly string[]>> = {
  '@fastify/swagger': ['daemon/surfaces/http/'],
  '@fastify/swagger-ui': ['daemon/surfaces/http/'],
  ajv: ['daemon/kit/schema.ts'],
  'ajv-formats': ['daemon/kit/schema.ts'],
  chokidar: ['daemon/catalog/watch.ts'],
  commander: ['bin/nexus-cli.ts'],
  croner: ['daemon/maintenance/cron.ts'],
  fastify: ['daemon/surfaces/http/'],
  'p-queue': ['daemon/missions/lanes.ts'],
  pino: ['daemon/telemetry/log.ts'],
  'prom-client': ['daemon/telemetry/meters.ts', 'daemon/telemetry/custom-meters.ts'],
  typebox: ['daemon/contracts/', 'daemon/surfaces/http/'],
  yaml: ['daemon/config-file.ts'],
}

/** The room of a file of the daemon; each surface is a room of its own, a file beside the rooms is in none. */
function roomOf(file: string): string | undefined {
  const [, first, second, third] = file.split('/')
  if (second === undefined || first === undefined) return undefined
  return first === 'surfaces' && third !== undefined ? `surfaces/${second}` : first
}

function rungOf(file: string): number {
  const room = roomOf(file)
  if (room === undefined) return TOP
  return RUNGS.findIndex((names) => names.includes(room.split('/')[0] ?? ''))
}

/** What is wrong with the direction of an import, if anything is. */
export function climbs({ file, line, target, isOwn }: Import): string | undefined {
  if (!isOwn || !file.startsWith('daemon/') || !target.startsWith('daemon/')) return undefined
  const [from, to] = [roomOf(file), roomOf(target)]
  if (from === to) return undefined
  // What all surfaces share lies beside them.
  if (from?.startsWith('surfaces/') === true && to === 'surfaces') return undefined
  if (rungOf(target) < 0) return `${file}:${line} imports ${target}, a room that is on no rung`
  if (rungOf(file) < 0) return `${file} is in a room that is on no rung`
  return rungOf(target) < rungOf(file)
    ? undefined
    : `${file}:${line} may not import ${target}: pass it in from above`
}

/** What is wrong with the place an import reaches into, if anything is. */
export function passesDoor({ file, line, target, isOwn, isType }: Import): string | undefined {
  if (!isOwn || isType || !target.startsWith('daemon/')) return undefined
  const room = roomOf(target)
  if (room === undefined || room === roomOf(file) || OPEN_GROUND.has(room) || room === 'surfaces')
    return undefined
  const name = posix.basename(room)
  const doors = [`daemon/${room}/${name}.ts`, `daemon/${room}/port.ts`]
  return doors.includes(target) ? undefined : `${file}:${line} goes past the door of ${room}: ${target}`
}

/** What is wrong with the import of a package, if anything is. */
export function opensPackage({ file, line, target, isOwn, isType }: Import): string | undefined {
  if (isOwn || target.startsWith('node:')) return undefined
  const name = target
    .split('/')
    .slice(0, target.startsWith('@') ? 2 : 1)
    .join('/')
  // A module's author writes against our types, which are erased.
  if (name === 'aeon-nexus')
    return isType && file.startsWith('modules/') ? undefined : `${file}:${line} imports ${target}`
  const doors = PACKAGE_DOORS[name]
  if (doors === undefined)
    return `${file}:${line} imports ${target}, which has no door: name one in test/house/rules.ts`
  const fits = doors.some((door) => (door.endsWith('/') ? file.startsWith(door) : file === door))
  return fits ? undefined : `${file}:${line} imports ${target}; only ${doors.join(' and ')} may`
}

export const PACKAGES = Object.keys(PACKAGE_DOORS)

/** Time and chance that no test could own. */
export const UNOWNED =
  /\b(?:Date\.now|setTimeout|setInterval|Math\.random|performance\.now|AbortSignal\.timeout)\b|\bnew Date\(\)/g

/** Where they may stand: the ports, what runs inside a module's process, and programs that live for a second. */
export function mayAskTheSystem(file: string): boolean {
  return (
    file === 'daemon/kit/clock.ts' ||
    file === 'daemon/kit/chance.ts' ||
    file === 'daemon/host/runner.ts' ||
    file.startsWith('daemon/host/child/') ||
    file.startsWith('aeon-interface/') ||
    file.startsWith('modules/')
  )
}
