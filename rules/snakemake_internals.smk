"""What the workflow asks of Snakemake beyond what its manual describes: here and nowhere else.

requirements.txt pins the version that this was written for.

Failed jobs are the scheduler's, not those of the events that Snakemake logs (interface of logger
plugins): an event of an error bears no wildcards; there is none for a job that ended well but
left an output out; with `quiet: progress` none says that a job ended. And a plugin has to be
installed and named in each profile, and hears of events in a thread that the handlers at the end
of the run do not wait for.
"""


def named_files():
    """Return the configuration files of the profile or the command line, absolute."""
    return workflow.config_settings.configfiles


def named_settings():
    """Return the settings of the command line, or below `config` of the profile."""
    return workflow.config_settings.config


def named_by_hand(key):
    """Return whether a setting stands on the command line, or below `config` of the profile."""
    return key in named_settings()


def is_real():
    """Return whether jobs will be run: not by `-n`, `--dag`, `--summary`, nor in a job of a run."""
    shown = workflow.executor_plugin is None or workflow.dryrun or workflow.touch
    return workflow.is_main_process and not shown


def nights_of_jobs():
    """The nights that jobs of the run are for, once these are planned."""
    jobs = workflow.dag.needrun_jobs()
    return sorted({job.wildcards.night for job in jobs if "night" in job.wildcards.keys()})


def is_job():
    """Return whether this is a job's own Snakemake, on a node of a cluster say."""
    return not workflow.is_main_process


def prepare_submission(name):
    """Give jobs in SLURM's queue a name, and only the variables of the environment they need."""
    executor = workflow.scheduler._executor
    if hasattr(executor, "run_uuid"):
        executor.run_uuid = f"{name}_{executor.run_uuid}"
        folder = f"{workflow.basedir}/profiles/slurm"  # of our sbatch
        os.environ |= {"PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}"}


def start_at_any_rate():
    """Drop Snakemake's limit of 100 jobs a second, unless somebody has set another one.

    For it a timer of a second is set whenever jobs start, and the run cannot end before the last.
    """
    limiter = workflow.scheduler.job_rate_limiter
    if limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def until():
    """Return the rules and files that `--until` names."""
    return set(workflow.dag_settings.until)


def called_in():
    """The directory in which Snakemake was called."""
    return workflow.workdir_init


def failed_jobs(archive):
    """The jobs of the run that failed, for the directory of products."""
    from scripts.lib.reporting.failures import FailedJob

    return [
        FailedJob(
            job.rule.name,
            {key: str(value) for key, value in job.wildcards.items()},
            str(Path(job.log[0]).absolute()) if job.log else "",
            archive=str(archive),
        )
        for job in workflow.scheduler.failed
    ]


def was_stopped():
    """Return whether somebody, or a shutdown, ended the run by a signal.

    Snakemake catches the signal, waits for its jobs and says nothing of it to `onerror`.
    """
    return bool(workflow.scheduler._user_kill)
