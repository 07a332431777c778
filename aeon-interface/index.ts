export {
  CommandInterface,
  type CommandOutcome,
  checkCriticalModules,
  checkLiveness,
  checkReadiness,
  type EmbeddedDaemon,
  executeCommand,
  getStatus,
  initInterfaces,
  LivenessProbe,
  StatusInterface,
} from './client.ts'
export { DaemonError, DaemonUnreachable, PermissionError } from './refusal.ts'
