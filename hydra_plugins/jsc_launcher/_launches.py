"""The launches of one sweep: the jobs are made, those that are done are left out, the others run somewhere."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.errors import CompactHydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.jsc_launcher._jobs import JobMaker, overrides_of, save_multirun
from jsc import train
from jsc.errors import CommandError, JobFailed
from jsc.sweep.place import Place, Work
from jsc.sweep.plan import Job, Sweep, read_plan, varied_keys
from jsc.sweep.session import MULTIRUN_FILE, Session, clear, cleared_if_refused, open_session
from jsc.sweep.split import Layout, read_part


@dataclass
class Launches:
    """A sweeper may launch its jobs in several batches."""

    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction
    layout: Layout
    connect: Callable[[], Place]
    jobs_run_elsewhere: bool
    on_failure: str
    num_retries: int
    share_prefixes: bool
    session: Session | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raises CommandError, and Hydra's error for another task than jsc.train's."""
        task = self.task_function
        if task is not train.main:
            launcher = self.config.hydra.runtime.choices["hydra/launcher"]
            raise CompactHydraException(
                f"hydra/launcher={launcher} runs jobs of jsc.train alone, not {getattr(task, '__qualname__', task)} of "
                f"{task.__module__}: take hydra/launcher=basic, or another of Hydra's"
            )
        try:
            self.hydra = pickle.dumps((self.hydra_context.callbacks, task))
        except Exception as error:
            raise CommandError(f"hydra.callbacks: {error}: they cannot be sent to a sweep's workers") from error
        self.part = read_part(self.config.sweep.part)
        self.folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        task_overrides = overrides_of(self.config, "task")
        self.varied = varied_keys(task_overrides, self.config.hydra.sweeper.get("params") or {})
        overrides = [*overrides_of(self.config, "hydra"), *task_overrides]
        self.sweep = Sweep(self.folder, [o for o in overrides if not o.startswith("hydra.mode=")])
        loader = self.hydra_context.config_loader
        self.maker = JobMaker(self.config, loader, elsewhere=self.jobs_run_elsewhere, shares=self.share_prefixes)

    @contextmanager
    def open(self, num_jobs: int | None = None) -> Iterator[Session]:
        """Launches within share workers; see `open_session`."""
        with open_session(self.sweep, self.connect, part=self.part, num_jobs=num_jobs) as session:
            save_multirun(self.config)
            self.session = session
            try:
                yield session
            finally:
                self.session = None

    def launch(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Run the jobs that are not done yet; of a part, those of the plan. Raises KeyboardInterrupt if interrupted."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        plan = read_plan(self.folder) if self.part is not None else None
        if self.part is not None:
            if plan is None:
                raise CommandError(f"sweep.part={self.part}: {self.folder} holds no plan of a sweep")
            job_overrides, first = [job["overrides"] for job in plan["jobs"]], 0
        with cleared_if_refused(self.folder):  # another sweeper than jsc's has made it
            jobs = self.maker.make(job_overrides, first)
        if self.config.sweep.dry_run:
            from jsc.sweep.dry_run import dry_run

            dry_run(self.folder, jobs, self.layout)
            if [path.name for path in self.folder.glob("*")] == [MULTIRUN_FILE]:
                clear(self.folder)
            return []
        with self.open() if self.session is None else nullcontext(self.session) as session:
            self.sweep.add(jobs, resumes=self.config.sweep.resume is not None)
            unfinished = frozenset(job.num for job in jobs if not job.is_finished()) - session.settled
            work = Work(
                folder=self.folder,
                jobs=jobs,
                to_run=unfinished if plan is None else frozenset(plan["to_run"]),
                varied=self.varied,
                hydra=self.hydra,
                num_workers=self.layout.num_workers,
                on_failure=self.on_failure,
                num_retries=self.num_retries,
            )
            if self.part is None:
                self.sweep.write_plan(work.to_run)
            else:
                work = replace(work, to_run=work.part(self.part) & unfinished)
            session.run(work, num_side_by_side=self.layout.num_side_by_side)
        return [self._job_return(job) for job in jobs if self.part is None or job.num in work.to_run]

    def _job_return(self, job: Job) -> JobReturn:
        returned = JobReturn(
            overrides=list(job.overrides), working_dir=str(Path.cwd()), task_name=str(self.config.hydra.job.name)
        )
        result = job.result()
        if result is not None and job.is_finished():
            returned.status, returned.return_value = JobStatus.COMPLETED, result.objective
        else:
            error = self.sweep.errors.get(job.num) or (result.error if result is not None else "it was not run")
            failure = JobFailed(f"job {job.num} ({job.folder.name}): {error}")
            returned.status, returned.return_value = JobStatus.FAILED, failure
        return returned
