import { type Fault, type Given, pointerOf } from './config-value.ts'
import { SETTINGS, type SettingName } from './contracts/config.ts'
import { didYouMean, nearest } from './kit/nearest.ts'

/** Variables that are ours but no settings. */
const RESERVED = new Set([
  'NEXUS_CONFIG',
  'NEXUS_FD',
  'NEXUS_OPERATOR_KEY_FILE',
  'NEXUS_SOCKET',
  'NEXUS_TOKEN',
  'NEXUS_TOKEN_FILE',
])

/** The name of a setting in the environment: `http.port` is `NEXUS_HTTP__PORT`. */
export function variableOf(name: string): string {
  return `NEXUS_${name.toUpperCase().replaceAll('.', '__')}`
}

/**
 * Settings from the environment. A variable that is empty counts as not given. One that was plainly meant for us but
 * is no setting is a fault; other `NEXUS_` names are left alone, since neighbours may have such.
 */
export function readEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  base: string,
): { given: Given[]; faults: Fault[] } {
  const given: Given[] = []
  const faults: Fault[] = []
  for (const [variable, value] of Object.entries(env).sort()) {
    if (!variable.startsWith('NEXUS_') || RESERVED.has(variable) || value === undefined || value === '')
      continue
    const name = SETTING_OF.get(variable)
    if (name !== undefined) given.push({ name, value, origin: variable, base, isText: true })
    else if (isMeantForUs(variable, value)) {
      const hint = didYouMean(variable, SETTING_OF.keys())
      faults.push({ place: variable, pointer: pointerOf(''), detail: `is no setting${hint}` })
    }
  }
  return { given, faults }
}

const SETTING_OF: ReadonlyMap<string, SettingName> = new Map(
  (Object.keys(SETTINGS) as SettingName[]).map((name) => [variableOf(name), name]),
)
const SECTIONS = new Set(Object.keys(SETTINGS).map((name) => name.split('.')[0]?.toUpperCase() ?? ''))

function isMeantForUs(variable: string, value: string): boolean {
  // Kubernetes sets such for every Service; one may be called nexus.
  if (/_SERVICE_(HOST|PORT)|_PORT_\d+_(TCP|UDP)/.test(variable) || /^(tcp|udp):\/\//.test(value)) return false
  const rest = variable.slice('NEXUS_'.length)
  const [section = ''] = rest.split('_')
  return rest.includes('__') || SECTIONS.has(section) || nearest(variable, SETTING_OF.keys()) !== undefined
}
