"""The command line."""
from pathlib import Path

import typer

app = typer.Typer()
train_app = typer.Typer()
app.add_typer(train_app, name="train")
@train_app.command()
def compact(content: list[str] = typer.Option(...), style: list[str] = typer.Option(...), out: Path = typer.Option(...), steps: int = 1000, autoencoder_steps: int = 0, batch: int = 4, crop: int = 128, lr: float = 1e-3, schedule: str = "cosine", pairings: int = 2, warmup: int = 50, resume: bool = False, max_minutes: float = None, save_minutes: float = 5, threads: int = 0, content_weight: float = 1.0, style_weight: float=10.0, identity_weight: float=50.0, scale: tuple[float,float]=(0.4,1.0)):
    import torch

    from impasto.nets.compact import Compact
    from impasto.nets.vgg import load_encoder
    from impasto.train.loop import Settings, train
    from impasto.train.tasks import CompactTask
    if threads: torch.set_num_threads(threads)
    s = Settings(steps=steps, batch=batch, crop=crop, lr=lr, schedule=schedule, pairings=pairings, warmup=warmup, autoencoder_steps=autoencoder_steps, scale=scale, content_weight=content_weight,style_weight=style_weight,identity_weight=identity_weight)
    torch.manual_seed(s.seed)
    train(CompactTask(Compact(), load_encoder(), s), content, style, s, out, resume=resume, max_minutes=max_minutes, save_minutes=save_minutes)
@train_app.command()
def adain(content: list[str] = typer.Option(...), style: list[str] = typer.Option(...), out: Path = typer.Option(...), steps: int = 1000, autoencoder_steps: int = 0, batch: int = 4, crop: int = 128, lr: float = 1e-3, schedule: str = "cosine", pairings: int = 2, warmup: int = 50, resume: bool = False, max_minutes: float = None, save_minutes: float = 5, threads: int = 0, content_weight: float = 1.0, style_weight: float=10.0, identity_weight: float=50.0, scale: tuple[float,float]=(0.4,1.0)):
    import torch

    from impasto.nets.adain import AdaIN
    from impasto.nets.vgg import load_encoder
    from impasto.train.loop import Settings, train
    from impasto.train.tasks import AdaINTask
    if threads: torch.set_num_threads(threads)
    s = Settings(steps=steps, batch=batch, crop=crop, lr=lr, schedule=schedule, pairings=pairings, warmup=warmup, autoencoder_steps=autoencoder_steps, scale=scale, content_weight=content_weight,style_weight=style_weight,identity_weight=identity_weight)
    torch.manual_seed(s.seed)
    net = AdaIN(); net.encoder = load_encoder()
    train(AdaINTask(net, s), content, style, s, out, resume=resume, max_minutes=max_minutes, save_minutes=save_minutes)
def main(): app()
if __name__ == "__main__": main()
